package webhook

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

var secret = []byte("a secret of thirty-two bytes, ok")

var asked = issuer.Question{
	ID: "question-1", At: time.Date(2026, 11, 22, 6, 48, 22, 0, time.UTC), Server: "line-1", Operation: "est simpleenroll", Label: "line",
	Profile: "device", Device: "press-1", Subject: "CN=press-1", Names: []string{"DNS:press-1.example"}, Key: [32]byte{1, 2},
	Requester: ledger.Requester{Kind: "password", Name: "factory", Address: netip.MustParseAddr("10.1.2.3")}, CSR: []byte("request"),
}

// service is an HTTPS server and a client that trusts it.
func service(t testing.TB, answer http.HandlerFunc, change func(*Config)) *Client {
	t.Helper()
	server := httptest.NewTLSServer(answer)
	t.Cleanup(server.Close)
	return ask(t, server, change)
}

func ask(t testing.TB, server *httptest.Server, change func(*Config)) *Client {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	// Long enough for a busy machine; what ends by it must never end otherwise.
	config := Config{URL: server.URL + "/enroll", Roots: roots, Secret: secret, Timeout: time.Minute}
	if change != nil {
		change(&config)
	}
	client, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.http.CloseIdleConnections)
	return client
}

// answers answers every question with a text of JSON.
func answers(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, text)
	}
}

// decides answers a question with a decision, under the question's id.
func decides(t testing.TB, decision, reason string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var q struct{ ID string }
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(map[string]any{"version": 1, "id": q.ID, "decision": decision, "reason": reason})
	}
}

// certificate makes a self-signed certificate for 127.0.0.1.
func certificate(t testing.TB, usage x509.ExtKeyUsage) *tls.Certificate {
	t.Helper()
	key := pkitest.NewKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{usage}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// refused wants an error, and no verdict beside it.
func refused(t *testing.T, c *Client) error {
	t.Helper()
	v, err := c.Ask(context.Background(), asked)
	if err == nil || v != (issuer.Verdict{}) {
		t.Fatalf("verdict %+v, error %v", v, err)
	}
	return err
}
