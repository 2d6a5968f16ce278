package doctor

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"mintmark/internal/ledger"
	"mintmark/issuer/est"
)

// TestOurs runs all points against our server in each of its settings: none may
// fail, and each that a server shows must pass in one of them.
func TestOurs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	passed := make(map[int]bool)
	for name, s := range map[string]setting{
		"plain": {}, "without a user": withoutUser, "approval": queueing, "linking": linking, "narrow": narrow, "rollover": rolling, "keygen": generating, "sealed": sealing,
		"both":                        {func(_ *world, l *est.Label) { l.Both = true }, func(_ *world, c *Config) { c.Both = true }},
		"the maker's certificate":     {nil, func(_ *world, c *Config) { c.HasPassword, c.RA = false, nil }},
		"the registrar's certificate": {nil, func(_ *world, c *Config) { c.HasPassword, c.Maker = false, nil }},
		"the device's certificate":    {nil, func(_ *world, c *Config) { c.HasPassword, c.Maker, c.RA = false, nil, nil }},
		"a password":                  {nil, func(_ *world, c *Config) { c.Device, c.Maker, c.RA, c.Expired, c.Revoked = nil, nil, nil, nil, nil }},
		"one name":                    {nil, func(_ *world, c *Config) { c.Name, c.Maker = "press-1", nil }},
		"nothing":                     {nil, func(_ *world, c *Config) { *c = Config{URL: c.URL, RootCAs: c.RootCAs, Enroll: true} }},
	} {
		t.Run(name, func(t *testing.T) {
			count := make(map[Status]int)
			err := Run(t.Context(), w.start(t, s, mutant{}), func(p Point, r Result) {
				count[r.Status]++
				switch {
				case r.Status == Fail:
					t.Errorf("%d %s: %s", p.Number, p.Title, r.Text)
				case r.Status == Pass:
					passed[p.Number] = true
				}
				if r.Text == "" {
					t.Errorf("%d: %s without a word", p.Number, r.Status)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%v", count)
		})
	}
	for _, p := range Points() {
		if !passed[p.Number] && elsewhere[p.Number] == "" {
			t.Errorf("point %d passed nowhere", p.Number)
		}
	}
}

// TestNothingIssued runs without leave to enroll, with every credential: nothing
// may be issued, and nothing fails.
func TestNothingIssued(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	count := func() int {
		page, err := w.ledger.Certificates(t.Context(), ledger.Query{Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		return len(page.Certificates)
	}
	c := w.start(t, generating, mutant{handler: before(func(_ *world, _ http.ResponseWriter, r *http.Request) bool {
		if der, err := decodeBase64(body(r)); err == nil && r.Method == http.MethodPost && len(der) > 0 {
			if _, err := whole(der, tagSequence); err == nil {
				t.Errorf("%s carries what may be a certification request", r.URL.Path)
			}
		}
		return false
	})})
	before, passed := count(), 0
	c.Enroll = false
	err := Run(t.Context(), c, func(p Point, r Result) {
		if r.Status == Fail {
			t.Errorf("%d %s: %s", p.Number, p.Title, r.Text)
		}
		if r.Status == Pass {
			passed++
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if count() != before {
		t.Errorf("%d certificates were issued", count()-before)
	}
	if passed < 35 {
		t.Errorf("%d points passed", passed)
	}
}

// TestWrongConfig refuses what the doctor cannot work with.
func TestWrongConfig(t *testing.T) {
	for _, c := range []Config{
		{URL: "http://ca.example"}, {URL: "https://"}, {URL: "https://user:pw@ca.example"}, {URL: "https://ca.example/?x"}, {URL: "://"},
		{URL: "https://ca.example", Label: "a/b"}, {URL: "https://ca.example/.well-known/est/a/b"}, {URL: "https://ca.example/.well-known/est/a", Label: "b"},
		{URL: "https://ca.example", Only: []int{99}}, {URL: "https://ca.example", Only: []int{0}}, {URL: "https://ca.example/a\r\nb"},
	} {
		if err := Run(t.Context(), c, func(p Point, _ Result) { t.Errorf("%q ran %d", c.URL, p.Number) }); err == nil {
			t.Errorf("%q, label %q, only %v: accepted", c.URL, c.Label, c.Only)
		}
	}
}

// TestURL finds base and label in the URL.
func TestURL(t *testing.T) {
	for url, want := range map[string]string{
		"https://ca.example":                        "/.well-known/est/cacerts",
		"https://ca.example/":                       "/.well-known/est/cacerts",
		"https://ca.example/.well-known/est":        "/.well-known/est/cacerts",
		"https://ca.example/.well-known/est/press":  "/.well-known/est/press/cacerts",
		"https://ca.example/.well-known/est/press/": "/.well-known/est/press/cacerts",
		"https://ca.example/pki":                    "/pki/.well-known/est/cacerts",
	} {
		p, err := newProbe(Config{URL: url})
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		if got := p.path("cacerts"); got != want {
			t.Errorf("%s: %s", url, got)
		}
	}
}

// hostile answers every request with the same bytes, over TLS.
func hostile(t *testing.T, w *world, serve func(net.Conn)) Config {
	t.Helper()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", est.TLSConfig(func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return w.server, nil }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				// What arrives is read, so that the answer is not lost to a reset.
				go io.Copy(io.Discard, c)
				serve(c)
			}()
		}
	}()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return Config{
		URL: "https://localhost:" + port, Label: "line", RootCAs: w.roots, HasPassword: true, User: goodUser, Password: goodSecret, Enroll: true,
		Device: w.device, Maker: w.maker, RA: w.registrar, Expired: w.expired, Revoked: w.revoked, Keygen: true, Linked: true, Rollover: true,
		Timeout: 5 * time.Second, Waiting: func(string, string) {}, sleep: func(context.Context, time.Duration) error { return nil },
	}
}

// TestHostile runs all points against servers that answer nonsense: the doctor
// comes to an end, and what must hold of any server fails.
func TestHostile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	endless := func(line string) func(net.Conn) {
		return func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\n")
			for b := []byte(strings.Repeat(line, 4096)); ; {
				if _, err := c.Write(b); err != nil {
					return
				}
			}
		}
	}
	say := func(text string) func(net.Conn) {
		return func(c net.Conn) { io.WriteString(c, text) }
	}
	for name, serve := range map[string]func(net.Conn){
		"nothing":               func(net.Conn) {},
		"noise":                 say(strings.Repeat("\x00\xff\x30\x84", 1000)),
		"header without end":    endless("X: y\r\n"),
		"line without end":      endless("x"),
		"interim without end":   endless("\r\nHTTP/1.1 100 Continue\r\n"),
		"body without end":      endless("\r\n\r\nAAAA"),
		"chunks without end":    endless("Transfer-Encoding: chunked\r\n\r\n1\r\nA\r\n"),
		"length of a terabyte":  say("HTTP/1.1 200 OK\r\nContent-Length: 1099511627776\r\n\r\n"),
		"negative length":       say("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"),
		"cut off":               say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nAAAA"),
		"empty SEQUENCE":        say("HTTP/1.1 200 OK\r\nContent-Type: application/pkcs7-mime\r\nContent-Length: 4\r\n\r\nMAA="),
		"deeply nested":         say("HTTP/1.1 200 OK\r\nContent-Type: application/csrattrs\r\nConnection: close\r\n\r\n" + string(encode(nested(2000)))),
		"202 for ever":          say("HTTP/1.1 202 Accepted\r\nRetry-After: 99999999999999999999\r\nContent-Length: 0\r\n\r\n"),
		"multipart without end": say("HTTP/1.1 200 OK\r\nContent-Type: multipart/mixed; boundary=x\r\nContent-Length: 400\r\n\r\n" + strings.Repeat("--x\r\n\r\n\r\n", 40)),
	} {
		t.Run(name, func(t *testing.T) {
			count := make(map[Status]int)
			if err := Run(t.Context(), hostile(t, w, serve), func(_ Point, r Result) { count[r.Status]++ }); err != nil {
				t.Fatal(err)
			}
			if count[Fail] < 20 {
				t.Errorf("%v", count)
			}
		})
	}
	t.Run("no TLS", func(t *testing.T) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: http.NotFoundHandler(), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)}
		go server.Serve(listener)
		t.Cleanup(func() { server.Close() })
		failed := 0
		err = Run(t.Context(), Config{URL: "https://" + listener.Addr().String(), Enroll: true}, func(_ Point, r Result) {
			if r.Status == Fail {
				failed++
			}
		})
		if err != nil || failed < 15 {
			t.Errorf("%d failed, %v", failed, err)
		}
	})
}

// nested is a SEQUENCE in a SEQUENCE in a SEQUENCE.
func nested(depth int) []byte {
	var b []byte
	for range depth {
		b = tlv(tagSequence, b)
	}
	return b
}

// TestEnds ends with its context, in the middle of a point.
func TestEnds(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	block := make(chan struct{})
	defer close(block)
	c := hostile(t, w, func(net.Conn) {
		cancel()
		<-block
	})
	c.Timeout = time.Minute
	if err := Run(ctx, c, func(Point, Result) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// TestCSR has the requests that the doctor makes judged by the usual library.
func TestCSR(t *testing.T) {
	key, err := makeKey("P-256")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]csr{
		"plain":      {key: key, subject: commonName("a")},
		"names":      {key: key, subject: commonName("a"), names: tlv(tagSequence, tlv(0x82, []byte("a.example")))},
		"linked":     {key: key, subject: commonName("a"), challenge: "AAAA"},
		"attributes": {key: key, subject: commonName("a"), more: [][]byte{capabilities(capable), changeOf(commonName("b"), nil)}},
	} {
		der, err := c.der()
		if err != nil {
			t.Fatal(err)
		}
		if err := checkDER(der, func(path []int) bool { return len(path) == 2 && path[0] == 0 && path[1] == 3 }); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		parsed, err := parseRequest(der)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := parsed.CheckSignature(); err != nil || !bytes.Equal(parsed.RawSubject, c.subject) {
			t.Errorf("%s: %v", name, err)
		}
		c.broken = true
		if der, err = c.der(); err != nil {
			t.Fatal(err)
		}
		if parsed, err = parseRequest(der); err != nil || parsed.CheckSignature() == nil {
			t.Errorf("%s, broken: %v", name, err)
		}
	}
}
