package hook

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// secretPrefix marks a key in base64, as Standard Webhooks writes it.
const secretPrefix = "whsec_"

// ParseSecret returns the key that a configured secret stands for: what follows
// whsec_ in base64, or the text's own bytes.
func ParseSecret(text string) ([]byte, error) {
	encoded, ok := strings.CutPrefix(text, secretPrefix)
	if !ok {
		return []byte(text), nil
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, fmt.Errorf("hook: what follows %s in a secret is not base64: %w", secretPrefix, err)
	}
	return key, nil
}

// sign sets the headers of Standard Webhooks: the message's id, when it is sent,
// and the HMAC of both and the body.
func sign(h http.Header, key []byte, id string, now time.Time, body []byte) {
	seconds := strconv.FormatInt(now.Unix(), 10)
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(id))
	mac.Write([]byte{'.'})
	mac.Write([]byte(seconds))
	mac.Write([]byte{'.'})
	mac.Write(body)
	h.Set("webhook-id", id)
	h.Set("webhook-timestamp", seconds)
	h.Set("webhook-signature", "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
}

// randomID returns an id that nobody else draws.
func randomID(prefix string) string { return prefix + rand.Text() }
