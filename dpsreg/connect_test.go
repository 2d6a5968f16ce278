package dpsreg

import (
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"mintmark/internal/pkitest"
)

// TestConnect: whatever host a URL of Azure names, the connection goes to the one
// address, with the host's name in TLS and in the request; plain HTTP, which only the
// endpoint of a managed identity speaks, stays where it is.
func TestConnect(t *testing.T) {
	azure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "azure "+r.Host+" "+r.TLS.ServerName)
	}))
	defer azure.Close()
	identity := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "identity") }))
	defer identity.Close()
	trust := pkitest.WriteFile(t, "root.pem", pkitest.PEM("CERTIFICATE", azure.Certificate().Raw))
	client, err := Connect{Address: azure.Listener.Addr().String(), Trust: trust}.httpClient()
	if err != nil {
		t.Fatal(err)
	}
	get := func(url string) string {
		answer, err := client.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	// The test server's certificate is for this name.
	if got := get("https://example.com/"); got != "azure example.com example.com" {
		t.Errorf("got %q", got)
	}
	if got := get(identity.URL); got != "identity" {
		t.Errorf("got %q", got)
	}
	if _, err := client.Get("https://management.azure.com/"); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate for another name: %v", err)
	}
	if v := client.Transport.(*http.Transport).TLSClientConfig.MinVersion; v != tls.VersionTLS12 {
		t.Errorf("from TLS version %x", v)
	}
}

// TestWhole: what the SDK reads is bounded, and an answer that breaks off is known as
// such.
func TestWhole(t *testing.T) {
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		passes  bool
	}{
		"too long": {func(w http.ResponseWriter, _ *http.Request) {
			io.Copy(w, strings.NewReader(strings.Repeat("x", maxSDKAnswer+1)))
		}, false},
		"broken off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "10")
			io.WriteString(w, "x")
		}, true},
		"none": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewTLSServer(test.handler)
			defer server.Close()
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, server.URL, nil)
			if err != nil {
				t.Fatal(err)
			}
			if answer, err := (whole{server.Client()}).Do(request); err == nil || answer != nil || passes(err) != test.passes {
				t.Errorf("%v, %v", answer, err)
			}
		})
	}
}
