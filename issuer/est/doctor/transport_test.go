package doctor

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"

	"mintmark/issuer/est"
)

// certificate presents another one.
func certificate(pick func(*world) *tls.Certificate) func(*world, *tls.Config) {
	return func(w *world, c *tls.Config) {
		c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pick(w), nil }
	}
}

// refusesHello refuses handshakes by their server name.
func refusesHello(bad func(name string) bool) func(*world, *tls.Config) {
	return func(_ *world, c *tls.Config) {
		next := c.GetCertificate
		c.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if bad(hello.ServerName) {
				return nil, errMutant
			}
			return next(hello)
		}
	}
}

var transportTests = []pointTest{
	{1, setting{}, []mutant{{name: "plain HTTP on the same port", listen: alsoPlain}}},
	{2, setting{}, []mutant{
		{name: "TLS 1.0", tls: func(_ *world, c *tls.Config) { c.MinVersion = tls.VersionTLS10 }},
		{name: "TLS 1.1", tls: func(_ *world, c *tls.Config) { c.MinVersion = tls.VersionTLS11 }},
		{name: "no TLS 1.3", tls: func(_ *world, c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }},
		{name: "no TLS 1.2", tls: func(_ *world, c *tls.Config) { c.MinVersion = tls.VersionTLS13 }},
	}},
	{3, setting{}, []mutant{
		{name: "NULL", alone: opensslServer("-cipher", "eNULL:@SECLEVEL=0")},
		{name: "anonymous", alone: opensslServer("-cipher", "aNULL:@SECLEVEL=0")},
	}},
	{4, setting{}, []mutant{
		{name: "another name", tls: certificate(func(w *world) *tls.Certificate { return w.other })},
		{name: "expired", tls: certificate(func(w *world) *tls.Certificate { return w.old })},
		{name: "a device's", tls: certificate(func(w *world) *tls.Certificate { return w.device })},
		{name: "without its chain", tls: certificate(func(w *world) *tls.Certificate {
			return &tls.Certificate{Certificate: w.server.Certificate[:1], PrivateKey: w.server.PrivateKey}
		})},
	}},
	{5, setting{}, []mutant{{name: "no tickets", tls: func(_ *world, c *tls.Config) { c.SessionTicketsDisabled = true }}}},
	{6, setting{}, []mutant{{name: "not asked", tls: func(_ *world, c *tls.Config) { c.ClientAuth = tls.NoClientCert }}}},
	{7, setting{}, []mutant{{name: "required", tls: func(_ *world, c *tls.Config) { c.ClientAuth = tls.RequireAnyClientCert }}}},
	{8, setting{}, []mutant{{name: "without renegotiation_info", listen: withoutRenegotiationInfo}}},
	{9, setting{}, []mutant{
		{name: "always closed", handler: before(func(_ *world, w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Connection", "close")
			return false
		})},
	}},
	{10, setting{}, []mutant{
		{name: "500 over h2", handler: before(func(_ *world, w http.ResponseWriter, r *http.Request) bool {
			if r.ProtoMajor == 2 {
				w.WriteHeader(http.StatusInternalServerError)
			}
			return r.ProtoMajor == 2
		})},
		{name: "reset over h2", handler: before(func(_ *world, _ http.ResponseWriter, r *http.Request) bool {
			if r.ProtoMajor == 2 && r.Method == http.MethodPost {
				panic(http.ErrAbortHandler)
			}
			return false
		})},
	}},
	{93, setting{}, []mutant{{name: "no TLS 1.2", tls: func(_ *world, c *tls.Config) { c.MinVersion = tls.VersionTLS13 }}}},
	{94, setting{}, []mutant{
		{name: "no name", tls: refusesHello(func(name string) bool { return name == "" })},
		{name: "an address", tls: func(w *world, c *tls.Config) {
			c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
				if net.ParseIP(hello.ServerName) != nil {
					return nil, errMutant
				}
				return nil, nil
			}
		}},
		{name: "another certificate", tls: func(w *world, c *tls.Config) {
			c.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
				if hello.ServerName == "" {
					return w.other, nil
				}
				return w.server, nil
			}
		}},
	}},
	{83, setting{}, []mutant{{name: "left out", handler: rewritten(func(_ *http.Request, a *httptest.ResponseRecorder) {
		a.Header().Del("Content-Transfer-Encoding")
	})}}},
	{84, setting{}, []mutant{
		{name: "chunked", handler: func(_ *world, next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				a := httptest.NewRecorder()
				next.ServeHTTP(a, r)
				a.Header().Del("Content-Length")
				for name, values := range a.Header() {
					w.Header()[name] = values
				}
				w.WriteHeader(a.Code)
				w.(http.Flusher).Flush()
				w.Write(a.Body.Bytes())
			})
		}},
		{name: "gzip", handler: rewritten(func(r *http.Request, a *httptest.ResponseRecorder) {
			if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
				a.Header().Set("Content-Encoding", "gzip")
			}
		})},
	}},
	{85, setting{}, []mutant{
		{name: "newline at the end", handler: rewritten(func(r *http.Request, a *httptest.ResponseRecorder) {
			if a.Code == http.StatusOK {
				a.Body.WriteString("\n")
			}
		})},
		{name: "one line for libest", handler: before(func(_ *world, _ http.ResponseWriter, r *http.Request) bool {
			r.Header.Del("User-Agent")
			return false
		})},
	}},
	{86, setting{}, []mutant{
		{name: "two writes", handler: func(_ *world, next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				a := httptest.NewRecorder()
				next.ServeHTTP(a, r)
				for name, values := range a.Header() {
					w.Header()[name] = values
				}
				w.WriteHeader(a.Code)
				half := a.Body.Len() / 2
				w.Write(a.Body.Next(half))
				w.(http.Flusher).Flush()
				w.Write(a.Body.Bytes())
			})
		}},
		{name: "dynamic record sizes", tls: func(_ *world, c *tls.Config) { c.DynamicRecordSizingDisabled = false }},
	}},
	{90, setting{}, []mutant{
		{name: "no blank", handler: rewritten(func(r *http.Request, a *httptest.ResponseRecorder) {
			if a.Header().Get("Content-Type") == "application/pkcs7-mime; smime-type=certs-only" {
				a.Header().Set("Content-Type", "application/pkcs7-mime;smime-type=certs-only")
			}
		})},
		{name: "a parameter of cacerts", handler: rewritten(func(r *http.Request, a *httptest.ResponseRecorder) {
			if isOp(r, "cacerts") {
				a.Header().Set("Content-Type", "application/pkcs7-mime; smime-type=certs-only")
			}
		})},
	}},
}

// absent answers 404 where bad says so.
func absent(bad func(r *http.Request) bool) func(*world, http.Handler) http.Handler {
	return before(func(_ *world, w http.ResponseWriter, r *http.Request) bool {
		if bad(r) {
			http.NotFound(w, r)
			return true
		}
		return false
	})
}

// refusing answers 400 where bad says so.
func refusing(bad func(r *http.Request) bool) func(*world, http.Handler) http.Handler {
	return before(func(_ *world, w http.ResponseWriter, r *http.Request) bool {
		if bad(r) {
			http.Error(w, "no", http.StatusBadRequest)
			return true
		}
		return false
	})
}

// instead turns one status into another.
func instead(from, to int) func(*world, http.Handler) http.Handler {
	return rewritten(func(_ *http.Request, a *httptest.ResponseRecorder) {
		if a.Code == from {
			a.Code = to
		}
	})
}

var routingTests = []pointTest{
	{11, setting{}, []mutant{{name: "only with a label", handler: absent(func(r *http.Request) bool { return r.URL.Path == "/.well-known/est/simplereenroll" })}}},
	{12, setting{}, []mutant{{name: "only without a label", handler: absent(func(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/.well-known/est/line/") })}}},
	{13, setting{}, []mutant{
		{name: "400 for 404", handler: instead(404, 400)},
		{name: "404 for 405", handler: instead(405, 404)},
		{name: "no Allow", handler: rewritten(func(_ *http.Request, a *httptest.ResponseRecorder) { a.Header().Del("Allow") })},
	}},
	{14, setting{}, []mutant{
		{name: "500", handler: instead(501, 500)},
		{name: "200", handler: instead(501, 200)},
	}},
	{97, setting{}, []mutant{
		{name: "no alias", handler: absent(func(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/line/") })},
		{
			name: "only under its label", label: func(l *est.Label) { l.Approval = true }, config: queueing.config,
			handler: absent(func(r *http.Request) bool {
				return r.URL.Path == "/.well-known/est/simpleenroll" && r.Header.Get("Authorization") != ""
			}),
		},
	}},

	{15, setting{}, []mutant{{name: "binary taken for DER", handler: before(func(_ *world, _ http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Content-Transfer-Encoding") == "binary" {
			setBody(r, encode(body(r)))
		}
		return false
	})}}},
	{16, setting{}, []mutant{{name: "no tabs", handler: refusing(func(r *http.Request) bool { return bytes.ContainsRune(body(r), '\t') })}}},
	{91, setting{}, []mutant{{name: "no PEM", handler: refusing(func(r *http.Request) bool { return bytes.HasPrefix(body(r), []byte("-----")) })}}},
	{17, setting{}, []mutant{
		{name: "URL alphabet", handler: rewritten(func(r *http.Request, a *httptest.ResponseRecorder) {
			if isOp(r, "cacerts") {
				text := strings.NewReplacer("+", "-", "/", "_").Replace(a.Body.String())
				a.Body.Reset()
				a.Body.WriteString(text)
			}
		})},
		{name: "DER", handler: rewritten(func(r *http.Request, a *httptest.ResponseRecorder) {
			der, err := base64.StdEncoding.DecodeString(a.Body.String())
			if isOp(r, "cacerts") && err == nil {
				a.Body = bytes.NewBuffer(der)
			}
		})},
		{name: "PEM", handler: rewritten(func(r *http.Request, a *httptest.ResponseRecorder) {
			der, err := base64.StdEncoding.DecodeString(a.Body.String())
			if isOp(r, "cacerts") && err == nil {
				a.Body = bytes.NewBuffer(pem.EncodeToMemory(&pem.Block{Type: "PKCS7", Bytes: der}))
			}
		})},
	}},
	{18, setting{}, []mutant{
		{name: "unsorted", handler: cacertsBody(func(list [][]byte) []byte { return message(1, nil, [][]byte{list[1], list[0]}) })},
		{name: "empty crls", handler: cacertsBody(func(list [][]byte) []byte { return message(1, nil, list, []byte{0xa1, 0}) })},
		{name: "indefinite length", handler: cacertsBody(func(list [][]byte) []byte {
			der := message(1, nil, list)
			e, _ := whole(der, tagSequence)
			return append(append([]byte{tagSequence, 0x80}, e.content...), 0, 0)
		})},
		{name: "length in too many bytes", handler: cacertsBody(func(list [][]byte) []byte {
			e, _ := whole(message(1, nil, list), tagSequence)
			return append([]byte{tagSequence, 0x83, 0, byte(len(e.content) >> 8), byte(len(e.content))}, e.content...)
		})},
	}},
	{19, setting{}, []mutant{
		{name: "500", handler: instead(400, 500)},
		{name: "413 as 500", handler: instead(413, 500)},
		{name: "what follows passed over", handler: before(func(_ *world, _ http.ResponseWriter, r *http.Request) bool {
			if der, err := base64.StdEncoding.DecodeString(string(body(r))); err == nil {
				if e, rest, err := next(der); err == nil && len(rest) > 0 {
					setBody(r, encode(e.raw))
				}
			}
			return false
		})},
	}},
	{98, setting{}, []mutant{
		{name: "500", handler: instead(400, 500)},
		{name: "no reason", handler: rewritten(func(_ *http.Request, a *httptest.ResponseRecorder) {
			if a.Code == 400 {
				replace(a, 400, "")
			}
		})},
	}},
}

// rolling is a label whose root is being changed.
var rolling = setting{
	label:  func(_ *world, l *est.Label) { l.Issuer = "issuing-a" },
	config: func(_ *world, c *Config) { c.Rollover, c.Device = true, nil },
}

// bridging changes what is distributed during a change of the root.
func bridging(fn func(w *world, list []*x509.Certificate) []*x509.Certificate) func(*world, est.Authority) est.Authority {
	return func(w *world, a est.Authority) est.Authority {
		return changedAuthority{Authority: a, bridges: func(name string) []*x509.Certificate { return fn(w, a.Bridges(name)) }}
	}
}

// without leaves out certificates.
func without(list []*x509.Certificate, bad func(*x509.Certificate) bool) []*x509.Certificate {
	var found []*x509.Certificate
	for _, c := range list {
		if !bad(c) {
			found = append(found, c)
		}
	}
	return found
}

// distributing changes the trust anchors.
func distributing(fn func(list []*x509.Certificate) []*x509.Certificate) func(*world, est.Authority) est.Authority {
	return func(_ *world, a est.Authority) est.Authority {
		return changedAuthority{Authority: a, anchors: func(name string) []*x509.Certificate { return fn(a.Anchors(name)) }}
	}
}

var cacertsTests = []pointTest{
	{20, setting{}, []mutant{{name: "401", handler: before(func(_ *world, w http.ResponseWriter, r *http.Request) bool {
		if isOp(r, "cacerts") && anonymous(r) {
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		return false
	})}}},
	{21, setting{}, []mutant{{name: "octet-stream", handler: rewritten(func(r *http.Request, a *httptest.ResponseRecorder) {
		a.Header().Set("Content-Type", "application/octet-stream")
	})}}},
	{22, setting{}, []mutant{
		{name: "version 3", handler: cacertsBody(func(list [][]byte) []byte { return message(3, nil, list) })},
		{name: "content", handler: cacertsBody(func(list [][]byte) []byte {
			return message(1, tlv(tagSequence, encodeOID(oidData), tlv(0xa0, tlv(tagOctets, []byte("content")))), list)
		})},
		{name: "no certificates", handler: cacertsBody(func([][]byte) []byte { return message(1, nil, nil) })},
	}},
	{23, setting{}, []mutant{
		{name: "no root", authority: distributing(func(list []*x509.Certificate) []*x509.Certificate { return list[1:] })},
		{name: "no intermediate", authority: distributing(func(list []*x509.Certificate) []*x509.Certificate { return list[:1] })},
	}},
	{24, rolling, []mutant{
		{name: "no bridges", authority: bridging(func(*world, []*x509.Certificate) []*x509.Certificate { return nil })},
		{name: "no NewWithOld", authority: bridging(func(w *world, list []*x509.Certificate) []*x509.Certificate {
			return without(list, func(c *x509.Certificate) bool { return !selfSigned(c) && c.Subject.CommonName == "Test root-b" })
		})},
		{name: "no OldWithNew", authority: bridging(func(w *world, list []*x509.Certificate) []*x509.Certificate {
			return without(list, func(c *x509.Certificate) bool { return !selfSigned(c) && c.Subject.CommonName == "Test root-a" })
		})},
	}},
	{25, rolling, []mutant{{name: "the new root ends first", authority: bridging(func(w *world, _ []*x509.Certificate) []*x509.Certificate {
		return []*x509.Certificate{w.shortRoot}
	})}}},
	{95, setting{}, []mutant{{name: "bridges left behind", authority: func(w *world, a est.Authority) est.Authority {
		return changedAuthority{Authority: a, bridges: func(string) []*x509.Certificate { return a.Bridges("issuing-a") }}
	}}}},
}
