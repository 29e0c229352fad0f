package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/golang-jwt/jwt/v5"
)

// The bounds of keys and of sets of them.
const (
	maxKeys     = 64      // of a set: a token without a kid may be tried with all of its algorithm
	maxKeyID    = 256     // bytes
	minOctBytes = 32      // of a secret in a set: the hash's size (RFC 7518, section 3.2)
	minRSABits  = 2048    // RFC 7518, section 3.3
	maxRSABits  = 8192    // above it a verification takes a millisecond
	maxSetBytes = 1 << 20 // of a set, as JSON
)

// jwk is one key of a set as it stands there (RFC 7517, section 4).
type jwk struct {
	members map[string]jsontext.Value

	kty, kid, alg, use string
	ops                []string // key_ops; nil where it is absent
}

// splitSet returns the members of a JWK Set, its keys apart, which may be of
// kinds that are not known here.
func splitSet(data []byte) (set map[string]jsontext.Value, keys []jsontext.Value, err error) {
	if len(data) > maxSetBytes {
		return nil, nil, fmt.Errorf("it has more than %d bytes", maxSetBytes)
	}
	if err := json.Unmarshal(data, &set); err != nil {
		return nil, nil, errors.New(`it is not a JSON object such as {"keys":[…]}, or has a member twice`)
	}
	raw, ok := set["keys"]
	if !ok || raw.Kind() != '[' {
		return nil, nil, errors.New(`it has no list "keys"`)
	}
	if err := json.Unmarshal(raw, &keys); err != nil {
		return nil, nil, errors.New(`"keys" is not a list`)
	}
	return set, keys, nil
}

// readJWK reads what all kinds of keys have.
func readJWK(data jsontext.Value) (*jwk, error) {
	j := &jwk{}
	if data.Kind() != '{' || json.Unmarshal(data, &j.members) != nil {
		return nil, errors.New("it is not a JSON object, or has a member twice")
	}
	for _, member := range []struct {
		name string
		into any
	}{{"kty", &j.kty}, {"kid", &j.kid}, {"alg", &j.alg}, {"use", &j.use}, {"key_ops", &j.ops}} {
		value, ok := j.members[member.name]
		if ok && (value.Kind() == 'n' || json.Unmarshal(value, member.into) != nil) {
			return nil, fmt.Errorf("its %s is not of the right type", member.name)
		}
	}
	return j, nil
}

// can reports whether the key is meant for the operation, sign or verify.
func (j *jwk) can(operation string) bool {
	return (j.use == "" || j.use == "sig") && (j.ops == nil || slices.Contains(j.ops, operation))
}

// material reads the key itself. Certificates that come with it are not looked
// at: who vouches for a key is whoever wrote the set.
func (j *jwk) material() (any, error) {
	bare := make(map[string]jsontext.Value, len(j.members))
	for name, value := range j.members {
		if !strings.HasPrefix(name, "x5") {
			bare[name] = value
		}
	}
	data, err := json.Marshal(bare)
	if err != nil {
		return nil, err
	}
	var parsed jose.JSONWebKey
	if err := parsed.UnmarshalJSON(data); err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "go-jose/go-jose: "))
	}
	return parsed.Key, nil
}

// key makes a key of the entry for the one algorithm.
func (j *jwk) key(alg string) (key, error) {
	material, err := j.material()
	if err != nil {
		return key{}, err
	}
	k := key{id: j.kid, alg: alg}
	switch m := material.(type) {
	case []byte:
		k.public, k.private = m, m
	case *rsa.PrivateKey:
		k.public, k.private = &m.PublicKey, m
	case *ecdsa.PrivateKey:
		k.public, k.private = &m.PublicKey, m
	case ed25519.PrivateKey:
		k.public, k.private = m.Public().(ed25519.PublicKey), m
	default:
		k.public = m
	}
	if err := checkStrength(alg, k.public); err != nil {
		return key{}, err
	}
	if err := k.checkPair(); err != nil {
		return key{}, err
	}
	if !j.can("sign") {
		k.private = nil
	}
	return k, nil
}

// checkStrength refuses keys that are of no use to the algorithm, and weak
// ones.
func checkStrength(alg string, public any) error {
	switch k := public.(type) {
	case []byte:
		if alg != HS256 {
			break
		}
		if len(k) < minOctBytes {
			return fmt.Errorf("its secret has %d bytes; %s takes %d or more (RFC 7518, section 3.2)", len(k), alg, minOctBytes)
		}
		return nil
	case *rsa.PublicKey:
		if alg != RS256 {
			break
		}
		if bits := k.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return fmt.Errorf("its modulus has %d bits; %s takes %d to %d here", bits, alg, minRSABits, maxRSABits)
		}
		if k.E < 3 || k.E%2 == 0 || k.E > 1<<31-1 {
			return errors.New("its exponent is none that RSA is used with")
		}
		return nil
	case *ecdsa.PublicKey:
		if alg != ES256 {
			break
		}
		if k.Curve != elliptic.P256() {
			return fmt.Errorf("its curve is %s; %s takes P-256", k.Curve.Params().Name, alg)
		}
		return nil
	case ed25519.PublicKey:
		if alg == EdDSA {
			return nil
		}
	}
	return fmt.Errorf("its kty does not fit its alg %s", alg)
}

// checkPair signs something with a private key and verifies it with the public
// one.
func (k *key) checkPair() error {
	if k.private == nil {
		return nil
	}
	method := jwt.GetSigningMethod(k.alg)
	const probe = "probe"
	signature, err := method.Sign(probe, k.private)
	if err != nil || method.Verify(probe, signature, k.public) != nil {
		return errors.New("its private part does not belong to its public one")
	}
	return nil
}

// parseKeys reads a JWK Set that is the server's own. Each key has a kid and an
// alg; what is not understood, weak or there twice makes the whole set an
// error, which holds nothing secret.
func parseKeys(data []byte) ([]key, error) {
	_, entries, err := splitSet(data)
	if err != nil {
		return nil, err
	}
	if len(entries) > maxKeys {
		return nil, fmt.Errorf("it has %d keys; %d is the most", len(entries), maxKeys)
	}
	var keys []key
	for i, entry := range entries {
		k, err := parseOwnKey(entry)
		if err != nil {
			return nil, fmt.Errorf("keys[%d]: %w", i, err)
		}
		if slices.ContainsFunc(keys, func(other key) bool { return other.id == k.id }) {
			return nil, fmt.Errorf("keys[%d]: the kid %q is there twice", i, k.id)
		}
		keys = append(keys, k)
	}
	return keys, nil
}

func parseOwnKey(entry jsontext.Value) (key, error) {
	j, err := readJWK(entry)
	if err != nil {
		return key{}, err
	}
	switch {
	case j.kid == "":
		return key{}, errors.New("it has no kid, which tokens name it by")
	case len(j.kid) > maxKeyID:
		return key{}, fmt.Errorf("its kid has %d bytes; %d is the most", len(j.kid), maxKeyID)
	case j.alg == "":
		return key{}, fmt.Errorf("it has no alg; give it one of %s", strings.Join(algorithms, ", "))
	case !slices.Contains(algorithms, j.alg):
		return key{}, fmt.Errorf("its alg %.32q is none of %s", j.alg, strings.Join(algorithms, ", "))
	case !j.can("verify") && !j.can("sign"):
		return key{}, errors.New("its use or key_ops say that it neither signs nor verifies")
	}
	return j.key(j.alg)
}

// algOfType is the one algorithm of ours that public keys of a type are used
// with, for issuers that do not say.
var algOfType = map[string]string{"RSA": RS256, "EC": ES256, "OKP": EdDSA}

// parsePublicKeys reads another issuer's JWK Set: the keys that verify tokens
// with one of the algorithms. Such sets may hold keys for other things, or of
// kinds and sizes that are not taken here: they are left out, and counted. A
// set without a key that is of use is an error.
func parsePublicKeys(data []byte, allowed []string) (keys []key, leftOut int, err error) {
	_, entries, err := splitSet(data)
	if err != nil {
		return nil, 0, err
	}
	for _, entry := range entries {
		k, err := parsePublicKey(entry, allowed)
		if err != nil {
			leftOut++
			continue
		}
		if keys = append(keys, k); len(keys) > maxKeys {
			return nil, 0, fmt.Errorf("it has more than %d keys", maxKeys)
		}
	}
	if len(keys) == 0 {
		return nil, 0, fmt.Errorf("none of its %d keys verifies %s", len(entries), strings.Join(allowed, ", "))
	}
	return keys, leftOut, nil
}

var errOfNoUse = errors.New("auth: the key is of no use here")

func parsePublicKey(entry jsontext.Value, allowed []string) (key, error) {
	j, err := readJWK(entry)
	if err != nil {
		return key{}, err
	}
	alg := j.alg
	if alg == "" {
		alg = algOfType[j.kty]
	}
	if j.kty == "oct" || !slices.Contains(allowed, alg) || !j.can("verify") || len(j.kid) > maxKeyID {
		return key{}, errOfNoUse
	}
	k, err := j.key(alg)
	k.private = nil // published by mistake; it is not ours to sign with
	return k, err
}
