package hook

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"
)

// responder runs openssl as an OCSP responder and returns its URL.
func (p *pki) responder(ca, signer string, args ...string) string {
	p.t.Helper()
	cmd := exec.Command("openssl", append([]string{"ocsp", "-port", "0", "-index", "index.txt", "-CA", ca + ".pem", "-rsigner", signer + ".pem", "-rkey", signer + ".key"}, args...)...)
	cmd.Dir = p.dir
	out, err := cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	// "ACCEPT [::]:34499 PID=6973"
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if m := regexp.MustCompile(`^ACCEPT .*:([0-9]+)`).FindStringSubmatch(lines.Text()); m != nil {
			return "http://127.0.0.1:" + m[1]
		}
	}
	p.t.Fatalf("the responder did not start: %v", lines.Err())
	return ""
}

func TestCallbackOCSP(t *testing.T) {
	p := newPKI(t)
	s := newSite(t)
	for _, test := range []struct {
		name string
		url  string
		with string
		want Reason
	}{
		{"good", p.responder("issuing", "responder", "-nmin", "5"), "good", ""},
		{"good, signed by the CA", p.responder("issuing", "issuing", "-nmin", "5", "-resp_no_certs"), "good", ""},
		{"good, without an end", p.responder("issuing", "responder"), "good", ""},
		{"revoked", p.responder("issuing", "responder", "-nmin", "5"), "bad", IsRevoked},
		{"unknown", p.responder("issuing", "responder", "-nmin", "5"), "responder", Unverified},
		// A device's certificate makes nobody a responder.
		{"signed by a device", p.responder("issuing", "forger", "-nmin", "5"), "good", Unverified},
		{"signed by a stranger", p.responder("issuing", "stranger", "-nmin", "5"), "good", Unverified},
		{"not there", s.URL + "/none", "good", Unverified},
		{"moved", s.URL + "/moved", "good", Unverified},
	} {
		c := p.callback()
		c.OCSP = test.url
		t.Run(test.name, func(t *testing.T) { p.connects(c, test.want, test.with) })
	}
	// An answer that was good yesterday says nothing about today.
	c := p.callback()
	c.OCSP = p.responder("issuing", "responder", "-nmin", "5")
	p.w.now = time.Now().Add(6 * time.Minute)
	p.connects(c, Unverified, "good")
	p.w.now = time.Now().Add(-clockSkew - time.Minute)
	p.connects(c, WrongCA, "good") // not valid yet, for a start
	c.OCSP, c.Limit = s.URL+"/silent", 100*time.Millisecond
	p.w.now = time.Now()
	p.connects(c, Unverified, "good")
}

// A responder's answer is kept by nobody, and one that was recorded is refused when
// its time is over.
func TestParseOCSP(t *testing.T) {
	p := newPKI(t)
	ask := func(name string, args ...string) []byte {
		p.openssl(append([]string{"ocsp", "-index", "index.txt", "-CA", "issuing.pem", "-rsigner", "responder.pem", "-rkey", "responder.key",
			"-issuer", "issuing.pem", "-cert", name + ".pem", "-respout", "answer.der", "-no_nonce", "-noverify"}, args...)...)
		data, err := os.ReadFile(filepath.Join(p.dir, "answer.der"))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	good, issuing := p.certificate("good"), p.certificate("issuing")
	now := time.Now()
	body := ask("good", "-nmin", "10")
	if _, err := parseOCSP(body, good, issuing, now); err != nil {
		t.Fatal(err)
	}
	open := ask("good")
	if _, err := parseOCSP(open, good, issuing, now.Add(maxOCSPAge-time.Minute)); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"too old":         second(parseOCSP(body, good, issuing, now.Add(11*time.Minute))),
		"open, too old":   second(parseOCSP(open, good, issuing, now.Add(maxOCSPAge+time.Minute))),
		"from the future": second(parseOCSP(body, good, issuing, now.Add(-clockSkew-time.Minute))),
		"about another":   second(parseOCSP(ask("bad", "-nmin", "10"), good, issuing, now)),
		"another CA":      second(parseOCSP(body, good, p.certificate("root"), now)),
		"responder over":  second(parseOCSP(body, good, issuing, now.AddDate(0, 0, 21))),
		"cut short":       second(parseOCSP(body[:len(body)-1], good, issuing, now)),
		"nothing":         second(parseOCSP(nil, good, issuing, now)),
	} {
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func second[T any](_ T, err error) error { return err }
