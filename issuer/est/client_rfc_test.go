package est

import (
	"bytes"
	"encoding/asn1"
	"net/url"
	"os"
	"path/filepath"
	"testing"
)

// TestClientRFC reads the examples of RFC 7030, Appendix A, from a server that
// is not ours: openssl s_server sends files as they are.
func TestClientRFC(t *testing.T) {
	dir, pool := serverFiles(t, newCA(t, "Root", nil))
	base := filepath.Join(dir, "est")
	if err := os.Mkdir(base, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"cacerts", "csrattrs"} {
		content, err := os.ReadFile(filepath.Join("testdata", "rfc7030", name))
		if err != nil {
			t.Fatal(err)
		}
		// The length is not that of the RFC, whose lines end in CR LF; the end of
		// the connection says it.
		head, body, _ := bytes.Cut(content, []byte("\n\n"))
		var kept [][]byte
		for line := range bytes.SplitSeq(head, []byte("\n")) {
			if !bytes.HasPrefix(line, []byte("Content-Length:")) {
				kept = append(kept, line)
			}
		}
		message := append(append(bytes.Join(kept, []byte("\r\n")), "\r\n\r\n"...), bytes.ReplaceAll(body, []byte("\n"), []byte("\r\n"))...)
		if err := os.WriteFile(filepath.Join(base, name), message, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, _ := other(t, dir, "openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", "cert.pem", "-cert_chain", "cert.pem", "-key", "key.pem", "-HTTP")
	client := &Client{URL: "https://" + until(t, out, `^ACCEPT (\S+)`) + "/est", RootCAs: pool}

	// Appendix A.1: OldWithOld, NewWithOld, OldWithNew and NewWithNew.
	list, err := client.CACerts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string]bool)
	for _, c := range list {
		names[c.Issuer.CommonName+" > "+c.Subject.CommonName] = true
	}
	for _, want := range []string{
		"estExampleCA OwO > estExampleCA OwO", "estExampleCA OwO > estExampleCA NwO",
		"estExampleCA NwN > estExampleCA OwN", "estExampleCA NwN > estExampleCA NwN",
	} {
		if !names[want] {
			t.Errorf("no certificate %s among %v", want, names)
		}
	}
	if len(list) != 4 {
		t.Errorf("%d certificates", len(list))
	}

	// Appendix A.2.
	wants, err := client.CSRAttrs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !wants.Link || len(wants.Elements) != 6 || !wants.Elements[0].Equal(asn1.ObjectIdentifier{1, 3, 6, 1, 1, 1, 1, 22}) {
		t.Errorf("%+v", wants)
	}
}

// FuzzAnswer reads arbitrary answers in every way that the client does: nothing
// panics, and an error comes with nothing else.
func FuzzAnswer(f *testing.F) {
	for _, name := range []string{"cacerts", "csrattrs"} {
		content, err := os.ReadFile(filepath.Join("testdata", "rfc7030", name))
		if err != nil {
			f.Fatal(err)
		}
		_, body, _ := bytes.Cut(content, []byte("\n\n"))
		f.Add(200, "application/pkcs7-mime; smime-type=certs-only", "", "", body)
		f.Add(200, "application/csrattrs", "", "", body)
	}
	f.Add(202, "", "120", "", []byte{})
	f.Add(503, "text/plain", "Sun, 22 Nov 2026 12:00:00 GMT", "", []byte("later"))
	f.Add(401, "", "", `Basic realm="x, y", Digest nonce=","`, []byte{})
	f.Add(400, "application/pkcs7-mime;smime-type=CMC-response", "99999999999999999999", "", []byte("MAA="))
	f.Fuzz(func(t *testing.T, status int, contentType, retry, challenge string, body []byte) {
		a := &answer{status: status, content: body, header: map[string][]string{
			"Content-Type": {contentType}, "Retry-After": {retry}, "Www-Authenticate": {challenge},
		}}
		err := a.check()
		if (status == 200) != (err == nil) {
			t.Fatalf("status %d: %v", status, err)
		}
		if err != nil && err.Error() == "" {
			t.Fatal("an error without words")
		}
		asksBasic(a.header)
		if list, err := a.certificates(); (err == nil) != (len(list) > 0) {
			t.Fatalf("%d certificates and %v", len(list), err)
		}
		if der, err := a.der(mediaTypeCSRAttrs, ""); err == nil {
			_, _ = ParseCSRAttrs(der)
		} else if der != nil {
			t.Fatal("an error and a body")
		}
	})
}

// FuzzClientURL makes no URL of what has an empty segment or dots, and none that
// leads to another server.
func FuzzClientURL(f *testing.F) {
	for _, seed := range [][2]string{{"https://ca.test", ""}, {"https://ca.test/a/b/", "c/d"}, {"https://u@ca.test:1/..", "."}, {"https://[::1%25x]/%2e%2e", "%2f"}, {"https://ca.test//", "@x"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, base, label string) {
		c := &Client{URL: base, Label: label}
		target, err := c.target("cacerts")
		if err != nil {
			return
		}
		from, to := mustParse(t, base), mustParse(t, target)
		if to.Scheme != "https" || to.Host != from.Host || to.User != nil || to.RawQuery != "" || to.Fragment != "" {
			t.Fatalf("%q and %q make %q", base, label, target)
		}
	})
}

func mustParse(t *testing.T, text string) *url.URL {
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
