// Package acmetest is a small ACME authority for tests. It speaks as much of RFC
// 8555 as a client needs that orders certificates for single names by the
// challenge tls-alpn-01 (RFC 8737): the directory, nonces, accounts, orders,
// authorizations, finalizing and the certificate. Signatures and nonces are
// checked, and so is the challenge, by a connection to the address that stands
// for port 443 of every name. Beyond that it is no judge of its clients: it has
// no rate limits, no revocation, no other challenges, and answers at once.
package acmetest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Authority is a running authority. Its methods are safe for concurrent use.
type Authority struct {
	// Static after New.
	t      testing.TB
	server *httptest.Server
	root   *x509.Certificate
	key    *ecdsa.PrivateKey

	led     chan struct{} // closed by the first Lead
	ledOnce sync.Once
	address atomic.Value // string: it stands for port 443 of every name

	mu      sync.Mutex
	nonces  map[string]bool
	next    int64
	account *jose.JSONWebKey
	orders  []*order
}

type order struct {
	name   string
	token  string
	valid  bool
	failed string
	chain  []byte // PEM, once it is issued
}

// New starts an authority, which the test's end stops.
func New(t testing.TB) *Authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "acmetest"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(365 * 24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	a := &Authority{t: t, key: key, led: make(chan struct{}), nonces: map[string]bool{}, next: 2}
	if a.root, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /directory", a.directory)
	mux.HandleFunc("/new-nonce", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("POST /new-account", a.newAccount)
	mux.HandleFunc("POST /new-order", a.newOrder)
	mux.HandleFunc("POST /authz/{order}", a.onOrder(a.authorization))
	mux.HandleFunc("POST /challenge/{order}", a.onOrder(a.challenge))
	mux.HandleFunc("POST /order/{order}", a.onOrder(a.writeOrder))
	mux.HandleFunc("POST /finalize/{order}", a.onOrder(a.finalize))
	mux.HandleFunc("POST /certificate/{order}", a.onOrder(a.certificate))
	a.server = httptest.NewUnstartedServer(a.withNonce(mux)) // its handlers read a.server
	a.server.Start()
	t.Cleanup(a.server.Close)
	return a
}

// Directory returns the URL that clients are told.
func (a *Authority) Directory() string { return a.server.URL + "/directory" }

// Roots returns what trusts the authority's certificates.
func (a *Authority) Roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.root)
	return pool
}

// Lead has every name lead to the address from now on. Challenges wait for the
// first one.
func (a *Authority) Lead(address string) {
	a.address.Store(address)
	a.ledOnce.Do(func() { close(a.led) })
}

// Orders returns how many certificates were ordered.
func (a *Authority) Orders() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.orders)
}

// withNonce adds the nonce that every answer brings (RFC 8555, section 6.5).
func (a *Authority) withNonce(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		nonce := rand.Text()
		a.mu.Lock()
		a.nonces[nonce] = true
		a.mu.Unlock()
		w.Header().Set("Replay-Nonce", nonce)
		h.ServeHTTP(w, r)
	})
}

func (a *Authority) url(path string, i int) string {
	return fmt.Sprintf("%s/%s/%d", a.server.URL, path, i)
}

func (a *Authority) directory(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{
		"newNonce": a.server.URL + "/new-nonce", "newAccount": a.server.URL + "/new-account", "newOrder": a.server.URL + "/new-order",
		"meta": map[string]any{"termsOfService": a.server.URL + "/terms"},
	})
}

// open checks a request's signature, URL and nonce (section 6.2) and returns
// what it holds. Where something is wrong, it has answered.
func (a *Authority) open(w http.ResponseWriter, r *http.Request) (payload []byte, key *jose.JSONWebKey, ok bool) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, nil, refuse(w, "malformed", err)
	}
	signed, err := jose.ParseSignedJSON(string(body), []jose.SignatureAlgorithm{jose.ES256, jose.RS256})
	if err != nil {
		return nil, nil, refuse(w, "malformed", err)
	}
	head := signed.Signatures[0].Protected
	a.mu.Lock()
	fresh := a.nonces[head.Nonce]
	delete(a.nonces, head.Nonce)
	key = a.account
	a.mu.Unlock()
	switch {
	case !fresh:
		return nil, nil, refuse(w, "badNonce", fmt.Errorf("the nonce %q is not one of ours", head.Nonce))
	case head.ExtraHeaders["url"] != a.server.URL+r.URL.Path:
		return nil, nil, refuse(w, "unauthorized", fmt.Errorf("the signature is for %v", head.ExtraHeaders["url"]))
	case head.JSONWebKey != nil:
		key = head.JSONWebKey
	case key == nil:
		return nil, nil, refuse(w, "accountDoesNotExist", fmt.Errorf("there is no account"))
	}
	if payload, err = signed.Verify(key); err != nil {
		return nil, nil, refuse(w, "unauthorized", err)
	}
	return payload, key, true
}

func (a *Authority) newAccount(w http.ResponseWriter, r *http.Request) {
	payload, key, ok := a.open(w, r)
	if !ok {
		return
	}
	var account struct {
		TermsOfServiceAgreed bool `json:"termsOfServiceAgreed"`
	}
	if err := json.Unmarshal(payload, &account); err != nil || !account.TermsOfServiceAgreed {
		refuse(w, "malformed", fmt.Errorf("the terms are not agreed to in %s", payload))
		return
	}
	a.mu.Lock()
	a.account = key
	a.mu.Unlock()
	w.Header().Set("Location", a.server.URL+"/account/1")
	writeJSON(w, http.StatusCreated, map[string]any{"status": "valid"})
}

func (a *Authority) newOrder(w http.ResponseWriter, r *http.Request) {
	payload, _, ok := a.open(w, r)
	if !ok {
		return
	}
	var asked struct {
		Identifiers []struct{ Type, Value string } `json:"identifiers"`
	}
	if err := json.Unmarshal(payload, &asked); err != nil || len(asked.Identifiers) != 1 || asked.Identifiers[0].Type != "dns" {
		refuse(w, "malformed", fmt.Errorf("not one name in %s", payload))
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	o := &order{name: asked.Identifiers[0].Value, token: rand.Text()}
	a.orders = append(a.orders, o)
	w.Header().Set("Location", a.url("order", len(a.orders)-1))
	writeJSON(w, http.StatusCreated, a.orderLocked(len(a.orders)-1))
}

// onOrder has h answer a signed request about an order, with the lock held.
func (a *Authority) onOrder(h func(w http.ResponseWriter, i int, payload []byte)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		payload, _, ok := a.open(w, r)
		if !ok {
			return
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		for i := range a.orders {
			if r.PathValue("order") == fmt.Sprint(i) {
				h(w, i, payload)
				return
			}
		}
		http.NotFound(w, r)
	}
}

func (o *order) status(open string) string {
	switch {
	case o.failed != "":
		return "invalid"
	case o.valid:
		return "valid"
	}
	return open
}

func (a *Authority) orderLocked(i int) map[string]any {
	o := a.orders[i]
	answer := map[string]any{
		"status": "pending", "identifiers": []any{map[string]any{"type": "dns", "value": o.name}},
		"authorizations": []string{a.url("authz", i)}, "finalize": a.url("finalize", i),
	}
	switch {
	case o.failed != "":
		answer["status"] = "invalid"
	case o.chain != nil:
		answer["status"], answer["certificate"] = "valid", a.url("certificate", i)
	case o.valid:
		answer["status"] = "ready"
	}
	return answer
}

func (a *Authority) writeOrder(w http.ResponseWriter, i int, _ []byte) {
	w.Header().Set("Location", a.url("order", i))
	writeJSON(w, http.StatusOK, a.orderLocked(i))
}

func (a *Authority) challengeLocked(i int) map[string]any {
	o := a.orders[i]
	answer := map[string]any{"type": "tls-alpn-01", "url": a.url("challenge", i), "token": o.token, "status": o.status("pending")}
	if o.failed != "" {
		answer["error"] = map[string]any{"type": "urn:ietf:params:acme:error:unauthorized", "detail": o.failed}
	}
	return answer
}

func (a *Authority) authorization(w http.ResponseWriter, i int, _ []byte) {
	o := a.orders[i]
	writeJSON(w, http.StatusOK, map[string]any{
		"status": o.status("pending"), "identifier": map[string]any{"type": "dns", "value": o.name}, "challenges": []any{a.challengeLocked(i)},
	})
}

func (a *Authority) challenge(w http.ResponseWriter, i int, _ []byte) {
	o := a.orders[i]
	if err := a.lookLocked(o); err != nil {
		o.failed = err.Error()
	} else {
		o.valid = true
	}
	writeJSON(w, http.StatusOK, a.challengeLocked(i))
}

// lookLocked connects to the name and checks its answer (RFC 8737, section 3).
func (a *Authority) lookLocked(o *order) error {
	select {
	case <-a.led:
	case <-a.t.Context().Done():
		return a.t.Context().Err()
	}
	conn, err := tls.Dial("tcp", a.address.Load().(string), &tls.Config{
		ServerName: o.name, NextProtos: []string{"acme-tls/1"}, InsecureSkipVerify: true, // it is self-signed, by definition
	})
	if err != nil {
		return err
	}
	defer conn.Close()
	state := conn.ConnectionState()
	if state.NegotiatedProtocol != "acme-tls/1" {
		return fmt.Errorf("%s speaks %q", o.name, state.NegotiatedProtocol)
	}
	leaf := state.PeerCertificates[0]
	if err := leaf.VerifyHostname(o.name); err != nil {
		return err
	}
	thumb, err := a.account.Thumbprint(crypto.SHA256)
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(o.token + "." + base64.RawURLEncoding.EncodeToString(thumb)))
	want, err := asn1.Marshal(sum[:])
	if err != nil {
		return err
	}
	for _, e := range leaf.Extensions {
		if e.Id.Equal(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 31}) && e.Critical && bytes.Equal(e.Value, want) {
			return nil
		}
	}
	return fmt.Errorf("the certificate of %s does not answer the challenge", o.name)
}

func (a *Authority) finalize(w http.ResponseWriter, i int, payload []byte) {
	o := a.orders[i]
	var asked struct {
		CSR string `json:"csr"`
	}
	if err := json.Unmarshal(payload, &asked); err != nil || !o.valid {
		refuse(w, "orderNotReady", fmt.Errorf("order %d: %v", i, err))
		return
	}
	der, err := base64.RawURLEncoding.DecodeString(asked.CSR)
	if err == nil {
		err = a.issueLocked(o, der)
	}
	if err != nil {
		refuse(w, "badCSR", err)
		return
	}
	a.writeOrder(w, i, nil)
}

func (a *Authority) issueLocked(o *order, csr []byte) error {
	request, err := x509.ParseCertificateRequest(csr)
	if err != nil {
		return err
	}
	if err := request.CheckSignature(); err != nil {
		return err
	}
	if len(request.DNSNames) != 1 || request.DNSNames[0] != o.name {
		return fmt.Errorf("the request is for %q, the order for %q", request.DNSNames, o.name)
	}
	a.next++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(a.next), Subject: pkix.Name{CommonName: o.name}, DNSNames: request.DNSNames,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(90 * 24 * time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.root, request.PublicKey, a.key)
	if err != nil {
		return err
	}
	o.chain = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	o.chain = append(o.chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.root.Raw})...)
	return nil
}

func (a *Authority) certificate(w http.ResponseWriter, i int, _ []byte) {
	w.Header().Set("Content-Type", "application/pem-certificate-chain")
	_, _ = w.Write(a.orders[i].chain) // fails only where the client has gone
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // fails only where the client has gone
}

// refuse answers with a problem document (section 6.7). It returns false.
func refuse(w http.ResponseWriter, kind string, err error) bool {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(http.StatusBadRequest)
	_ = json.NewEncoder(w).Encode(map[string]string{"type": "urn:ietf:params:acme:error:" + kind, "detail": err.Error()})
	return false
}
