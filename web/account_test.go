package web_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/thronghq/throng/internal/throngtest"
)

// A user registers, talks, outlives the end of the access token, logs out and
// in again, and is sent away when an administrator ends the login.
func TestLogin(t *testing.T) {
	t.Parallel()
	const ttl = 8 * time.Second
	server := throngtest.Start(t, throngtest.Options{NoDev: true, Args: []string{
		"--auth-registration", "--auth-argon2-memory=8MiB", "--auth-argon2-time=1", "--auth-access-ttl=" + ttl.String(), "--auth-leeway=0s",
	}})
	ana := startBrowser(t).open("ana", server.URL("/"))
	ana.await(`!document.getElementById("welcome").hidden`)
	ana.do(chromedp.SendKeys(chromedp.CSS("#name"), "ana"))
	ana.enter()
	ana.awaitText("#enter-error", "This server asks who you are.")

	ana.do(chromedp.SendKeys(chromedp.CSS("#password"), "correct horse"))
	ana.enter()
	ana.awaitText("#enter-error", "no account has this user name and password")

	ana.do(chromedp.SendKeys(chromedp.CSS("#password"), "correct horse"))
	ana.click("#register")
	ana.do(chromedp.Focus(chromedp.CSS("#password")))
	ana.enter()
	ana.awaitOnline()
	ana.say("with an account")
	ana.awaitRows(1)

	first := token(ana)
	ana.await(`JSON.parse(sessionStorage.getItem("throng.account")).access !== ` + quoted(first))
	ana.say("with a fresh token")
	ana.awaitRows(2)
	ana.await(`document.querySelectorAll("#timeline .notice").length === 0`) // the connection never broke

	ana.do(chromedp.Reload())
	ana.awaitOnline()
	ana.awaitRows(2)

	ana.click("#logout")
	ana.await(`!document.getElementById("welcome").hidden && sessionStorage.getItem("throng.account") === null`)
	ana.do(chromedp.SendKeys(chromedp.CSS("#password"), "correct horse"))
	ana.enter()
	ana.await(`sessionStorage.getItem("throng.account") !== null`)
	ana.awaitOnline()

	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL("/api/v1/logout"), nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token(ana))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusNoContent {
		t.Fatalf("logout elsewhere: %s", response.Status)
	}
	ana.awaitText("#enter-error", "revoked")
}

// token is the access token that the window has.
func token(w *window) string {
	w.t.Helper()
	var token string
	w.eval(`JSON.parse(sessionStorage.getItem("throng.account")).access`, &token)
	if strings.Count(token, ".") != 2 {
		w.t.Fatalf("%s: the token is %q", w.name, token)
	}
	return token
}

func quoted(text string) string {
	quoted, _ := json.Marshal(text) // a string has JSON
	return string(quoted)
}
