package doctor

import (
	"crypto/x509"
	"net"
	"net/http"
	"strings"
	"testing"

	"mintmark/internal/ledger"
)

// TestPreflight says of each mistake of the caller what it is, and issues nothing.
func TestPreflight(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	plain := &http.Server{Handler: http.NotFoundHandler()}
	go plain.Serve(listener)
	t.Cleanup(func() { plain.Close() })
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := closed.Addr().String()
	closed.Close()
	for name, test := range map[string]struct {
		change func(*Config)
		want   string // empty: nothing is wrong
	}{
		"right":                  {func(*Config) {}, ""},
		"no credential":          {func(c *Config) { *c = Config{URL: c.URL, Label: c.Label, RootCAs: c.RootCAs, Enroll: true} }, ""},
		"nobody listens":         {func(c *Config) { c.URL = "https://" + nobody }, "nothing answers at " + nobody},
		"no TLS":                 {func(c *Config) { c.URL = "https://" + listener.Addr().String() }, "does not speak TLS"},
		"other anchors":          {func(c *Config) { c.RootCAs = x509.NewCertPool() }, "certificate is not taken"},
		"another label":          {func(c *Config) { c.Label = "lime" }, `there is no label "lime"`},
		"another path":           {func(c *Config) { c.URL += "/elsewhere"; c.Label = "" }, "EST needs a label there, or is elsewhere"},
		"wrong password":         {func(c *Config) { c.Password = "wrong" }, "does not take the password"},
		"wrong, nothing to send": {func(c *Config) { c.Password, c.Enroll = "wrong", false }, ""},
		"no URL":                 {func(c *Config) { c.URL = "ca.example" }, "must be https://"},
	} {
		c := w.start(t, setting{}, mutant{})
		test.change(&c)
		err := Preflight(t.Context(), c)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
	// Faults of the server are for the points.
	c := w.start(t, setting{}, mutant{handler: before(func(_ *world, rw http.ResponseWriter, r *http.Request) bool {
		http.Error(rw, "out of order", 500)
		return true
	})})
	if err := Preflight(t.Context(), c); err != nil {
		t.Errorf("a server out of order: %v", err)
	}
	page, err := w.ledger.Certificates(t.Context(), ledger.Query{Requester: goodUser, Limit: 1000})
	if err != nil || len(page.Certificates) > 0 {
		t.Errorf("%d certificates were issued, %v", len(page.Certificates), err)
	}
}
