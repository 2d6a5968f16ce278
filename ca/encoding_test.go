package ca

import (
	"bytes"
	"crypto/elliptic"
	"crypto/x509"
	"slices"
	"testing"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// parts is a TBSCertificate taken apart, to be put together wrongly: crypto/x509 would not
// encode most of this, and if it did one day, nobody must sign it.
type parts struct {
	version, serial, algorithm, issuer, validity, subject, key []byte // elements
	ids                                                        []byte
	extensions                                                 [][]byte
}

func take(t testing.TB, tbs []byte) *parts {
	t.Helper()
	input := cryptobyte.String(tbs)
	var body, extensions cryptobyte.String
	var p parts
	if !input.ReadASN1(&body, cbasn1.SEQUENCE) {
		t.Fatal("no TBSCertificate")
	}
	for _, part := range []*[]byte{&p.version, &p.serial, &p.algorithm, &p.issuer, &p.validity, &p.subject, &p.key} {
		var tag cbasn1.Tag
		if !body.ReadAnyASN1Element((*cryptobyte.String)(part), &tag) {
			t.Fatal("no TBSCertificate")
		}
	}
	if !body.ReadASN1(&extensions, cbasn1.Tag(3).ContextSpecific().Constructed()) || !extensions.ReadASN1(&extensions, cbasn1.SEQUENCE) {
		t.Fatal("no extensions")
	}
	for !extensions.Empty() {
		var e cryptobyte.String
		if !extensions.ReadASN1Element(&e, cbasn1.SEQUENCE) {
			t.Fatal("no extension")
		}
		p.extensions = append(p.extensions, e)
	}
	return &p
}

func (p *parts) tbs() []byte {
	extensions := wrap(0xa3, wrap(0x30, p.extensions...))
	if p.extensions == nil {
		extensions = nil
	}
	return wrap(0x30, p.version, p.serial, p.algorithm, p.issuer, p.validity, p.subject, p.key, p.ids, extensions)
}

func wrap(tag byte, content ...[]byte) []byte {
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.Tag(tag), func(b *cryptobyte.Builder) { b.AddBytes(bytes.Join(content, nil)) })
	return b.BytesOrPanic()
}

// edit replaces the extension whose encoding holds the object identifier 2.5.29.arc.
func (p *parts) edit(arc byte, change func([]byte) []byte) {
	i := slices.IndexFunc(p.extensions, func(e []byte) bool { return bytes.Contains(e, []byte{6, 3, 0x55, 29, arc}) })
	if e := change(p.extensions[i]); e != nil {
		p.extensions[i] = e
	} else {
		p.extensions = slices.Delete(p.extensions, i, i+1)
	}
}

func replace(old, with string) func([]byte) []byte {
	return func(b []byte) []byte { return bytes.Replace(b, []byte(old), []byte(with), 1) }
}

func badEncodings() map[string]func(*parts) {
	dates := func(before, after []byte) func(*parts) {
		return func(p *parts) { p.validity = wrap(0x30, before, after) }
	}
	utc, generalized := func(s string) []byte { return wrap(0x17, []byte(s)) }, func(s string) []byte { return wrap(0x18, []byte(s)) }
	from, to := utc("261102110000Z"), utc("311102120000Z")
	value := func(b []byte) []byte { return wrap(4, b) }
	oid := func(arc byte) []byte { return []byte{6, 3, 0x55, 29, arc} }
	critical := []byte{1, 1, 0xff}
	ski := bytes.Repeat([]byte{7}, 17)
	return map[string]func(*parts){
		"version 1":                       func(p *parts) { p.version = nil },
		"version 2":                       func(p *parts) { p.version[4] = 1 },
		"serial number 0":                 func(p *parts) { p.serial = wrap(2, []byte{0}) },
		"serial number negative":          func(p *parts) { p.serial[2] |= 0x80 },
		"serial number of 21 octets":      func(p *parts) { p.serial = wrap(2, bytes.Repeat([]byte{1}, 21)) },
		"serial number not minimal":       func(p *parts) { p.serial = wrap(2, []byte{0}, p.serial[2:]) },
		"ECDSA with a parameter":          func(p *parts) { p.algorithm = wrap(0x30, p.algorithm[2:], []byte{5, 0}) },
		"GeneralizedTime before 2050":     dates(from, generalized("20311102120000Z")),
		"notBefore in GeneralizedTime":    dates(generalized("20261102110000Z"), to),
		"UTCTime without seconds":         dates(from, utc("3111021200Z")),
		"UTCTime with an offset":          dates(from, utc("3111021200+0000")),
		"GeneralizedTime with a fraction": dates(from, generalized("20501102120000.5Z")),
		"GeneralizedTime without seconds": dates(from, generalized("205011021200Z")),
		"GeneralizedTime without Z":       dates(from, generalized("20501102120000")),
		"February 30":                     dates(from, utc("310230120000Z")),
		"hour 25":                         dates(from, utc("311102250000Z")),
		"issuer empty":                    func(p *parts) { p.issuer = wrap(0x30) },
		"issuer of another":               func(p *parts) { p.issuer = bytes.Replace(p.issuer, []byte("Mint"), []byte("Hint"), 1) },
		"subject empty":                   func(p *parts) { p.subject = wrap(0x30) },
		"a set without attributes":        func(p *parts) { p.subject = wrap(0x30, wrap(0x31)) },
		"point compressed":                func(p *parts) { p.key = bytes.Replace(p.key, []byte{0x42, 0, 4}, []byte{0x42, 0, 2}, 1) },
		"point with unused bits":          func(p *parts) { p.key = bytes.Replace(p.key, []byte{0x42, 0, 4}, []byte{0x42, 1, 4}, 1) },
		"issuer unique identifier":        func(p *parts) { p.ids = wrap(0x81, []byte{0, 1}) },
		"subject unique identifier":       func(p *parts) { p.ids = wrap(0x82, []byte{0, 1}) },
		"no extensions":                   func(p *parts) { p.extensions = nil },
		"no subject key identifier":       func(p *parts) { p.edit(14, func([]byte) []byte { return nil }) },
		"subject key identifier critical": func(p *parts) {
			p.edit(14, func([]byte) []byte { return wrap(0x30, oid(14), critical, value(wrap(4, ski))) })
		},
		"subject key identifier of another":      func(p *parts) { p.edit(14, func(e []byte) []byte { e[len(e)-1] ^= 1; return e }) },
		"subject key identifier of another type": func(p *parts) { p.edit(14, replace("\x04\x16\x04\x14", "\x04\x16\x0c\x14")) },
		"subject key identifier twice":           func(p *parts) { p.edit(14, func(e []byte) []byte { return append(slices.Clone(e), e...) }) },
		"no authority key identifier":            func(p *parts) { p.edit(35, func([]byte) []byte { return nil }) },
		"authority key identifier empty":         func(p *parts) { p.edit(35, func([]byte) []byte { return wrap(0x30, oid(35), value(wrap(0x30))) }) },
		"authority key identifier of another":    func(p *parts) { p.edit(35, func(e []byte) []byte { e[len(e)-1] ^= 1; return e }) },
		"authority key identifier critical":      func(p *parts) { p.edit(35, func(e []byte) []byte { return wrap(0x30, oid(35), critical, e[7:]) }) },
		"key usage not critical": func(p *parts) {
			p.edit(15, func([]byte) []byte { return wrap(0x30, oid(15), value([]byte{3, 2, 7, 0x80})) })
		},
		"key usage without bits": func(p *parts) { p.edit(15, replace("\x03\x02\x07\x80", "\x03\x02\x07\x00")) },
		"key usage of too many bits": func(p *parts) {
			p.edit(15, func([]byte) []byte { return wrap(0x30, oid(15), critical, value([]byte{3, 4, 7, 0x80, 0x80, 0x80})) })
		},
		"key usage with wrong unused bits": func(p *parts) { p.edit(15, replace("\x03\x02\x07\x80", "\x03\x02\x00\x80")) },
		"extended key usage critical without any": func(p *parts) {
			p.edit(37, func(e []byte) []byte { return nil })
			p.extensions = append(p.extensions, wrap(0x30, oid(37), critical, value(wrap(0x30))))
		},
		"something behind the extensions": func(p *parts) { p.extensions = append(p.extensions, []byte{5, 0}) },
	}
}

// TestBadEncodings puts certificates together wrongly. What is parsed at all and lints badly
// must do so also where the right one is known by its shape.
func TestBadEncodings(t *testing.T) {
	_, a, _ := hierarchy(t, "P-256")
	pub := newECKey(t, elliptic.P256())
	template := deviceTemplate()
	p, err := a.Prepare(template, pub, Rules{})
	if err != nil {
		t.Fatal(err)
	}
	good := p.cert
	template.SubjectKeyId, template.AuthorityKeyId = good.SubjectKeyId, good.AuthorityKeyId
	if shape, ok := shapeOf(good, pub); !ok || !a.shapes.passed(shape) {
		t.Fatal("the shape of the good one is not known")
	}
	// Otherwise this test says nothing.
	if again, err := encoded(take(t, p.tbs).tbs(), template, a.cert, Rules{}); err != nil || !bytes.Equal(again.tbs, p.tbs) {
		t.Fatalf("put together as it was: %v", err)
	}
	if len(badEncodings()) < 30 {
		t.Errorf("only %d", len(badEncodings()))
	}
	for name, change := range badEncodings() {
		t.Run(name, func(t *testing.T) {
			wrong := take(t, slices.Clone(p.tbs))
			change(wrong)
			tbs := wrong.tbs()
			if bytes.Equal(tbs, p.tbs) {
				t.Fatal("nothing was changed")
			}
			checkEncoding(t, a, tbs, template)
		})
	}
}

// checkEncoding wants what is not the good certificate refused.
func checkEncoding(t *testing.T, a *Authority, tbs []byte, template *x509.Certificate) {
	t.Helper()
	_, refused := encoded(tbs, template, a.cert, Rules{})
	cert, clean := lintedAlone(tbs)
	if refused == nil && (cert == nil || clean) {
		t.Error("accepted")
	}
	if cert == nil {
		return
	}
	if shape, ok := shapeOf(cert, cert.PublicKey); ok && a.shapes.passed(shape) && !clean {
		t.Error("the lint refuses it, and its shape is known as good")
	}
}

// lintedAlone reads tbs under a dummy signature, whatever the engine thinks of it, and lints it in
// full; nil if it cannot be read.
func lintedAlone(tbs []byte) (cert *x509.Certificate, clean bool) {
	algorithm, err := signatureAlgorithm(tbs)
	if err != nil {
		return nil, false
	}
	der, err := assemble(tbs, algorithm, []byte{0x30, 6, 2, 1, 1, 2, 1, 1})
	if err != nil {
		return nil, false
	}
	if cert, err = x509.ParseCertificate(der); err != nil {
		return nil, false
	}
	return cert, lintCertificate(cert, cert.PublicKey, false) == nil
}

// The year in which dates change their type lies between the two dates of a certificate:
// what is wrong on one side of it is right on the other.
func TestShapeOfDates(t *testing.T) {
	_, a, _ := hierarchy(t, "P-256")
	p, err := a.Prepare(deviceTemplate(), newECKey(t, elliptic.P256()), Rules{})
	if err != nil {
		t.Fatal(err)
	}
	dated := func(before, after []byte) (shape [32]byte, clean bool) {
		wrong := take(t, slices.Clone(p.tbs))
		wrong.validity = wrap(0x30, before, after)
		cert, clean := lintedAlone(wrong.tbs())
		if cert == nil {
			t.Fatalf("%q to %q cannot be read", before, after)
		}
		shape, ok := shapeOf(cert, cert.PublicKey)
		if !ok {
			t.Fatal("it has no shape")
		}
		return shape, clean
	}
	good, clean := dated(wrap(0x17, []byte("480701000000Z")), wrap(0x18, []byte("20500701000000Z")))
	bad, cleanToo := dated(wrap(0x17, []byte("480101000000Z")), wrap(0x18, []byte("20491231000000Z")))
	if !clean || cleanToo {
		t.Fatalf("the lint passes the good one: %v, the bad one: %v", clean, cleanToo)
	}
	if good == bad {
		t.Error("both have the same shape")
	}
}

// FuzzShape holds two certificates against each other that differ in a few bytes: if they have the
// same shape, the lint says the same of both. The first is a device's, with a name and bytes of
// the fuzzer's; edits are pairs of a position (two bytes) and a value.
func FuzzShape(f *testing.F) {
	_, a, _ := hierarchy(f, "P-256")
	pub, err := x509.ParsePKIXPublicKey(a.cert.RawSubjectPublicKeyInfo)
	if err != nil {
		f.Fatal(err)
	}
	template := deviceTemplate()
	template.AuthorityKeyId, template.SubjectKeyId = a.cert.SubjectKeyId, bytes.Repeat([]byte{3}, 20)
	base, err := buildTBS(template, a.cert, pub)
	if err != nil {
		f.Fatal(err)
	}
	at := func(what string, with ...byte) (edits []byte) {
		i := bytes.Index(base, []byte(what))
		if i < 0 {
			f.Fatalf("no %q", what)
		}
		for n, b := range with {
			edits = append(edits, byte((i+n)>>8), byte(i+n), b)
		}
		return edits
	}
	f.Add("press-000142", byte(cbasn1.UTF8String), []byte{}, at("press", 'd', 'r', 'i', 'l', 'l'))
	f.Add("press 000142", byte(cbasn1.PrintableString), []byte{}, at("press-000142", []byte("drill_000143")...))
	f.Add("press", byte(cbasn1.T61String), []byte{}, []byte{})
	f.Add("pr\xc3\xa4ss", byte(cbasn1.UTF8String), []byte{}, at("press", 'q'))
	f.Add("p\x00r\x00", byte(30), []byte{}, []byte{})
	f.Add("", byte(cbasn1.UTF8String), []byte{}, []byte{})
	f.Add("press-000142", byte(cbasn1.UTF8String), at("261102", '2', '7'), at("311102", '4', '9'))
	f.Add("press-000142", byte(cbasn1.UTF8String), at("000142\x31", '0', '@'), at("\x03\x55\x1d\x0e", 3, 0x55, 0x1d, 0x0f))
	f.Add("press-000142", byte(cbasn1.UTF8String), at("\x69\x01\x02", 0, 0, 0), at("\x69\x01\x02", 0, 1, 0))
	f.Fuzz(func(t *testing.T, name string, tag byte, edits, more []byte) {
		if len(name) > 200 || len(edits) > 60 || len(more) > 60 {
			return
		}
		p := take(t, slices.Clone(base))
		p.subject = wrap(0x30, wrap(0x31, wrap(0x30, []byte{6, 3, 0x55, 4, 3}, wrap(max(1, tag%31), []byte(name)))))
		first := apply(p.tbs(), edits)
		second := apply(slices.Clone(first), more)
		one, clean := lintedAlone(first)
		two, cleanToo := lintedAlone(second)
		if one == nil || two == nil {
			return
		}
		shape, ok := shapeOf(one, one.PublicKey)
		other, okToo := shapeOf(two, two.PublicKey)
		if ok && okToo && shape == other && clean != cleanToo {
			t.Errorf("of the same shape, and clean: %v, %v\n%x\n%x", clean, cleanToo, first, second)
		}
	})
}

func apply(b, edits []byte) []byte {
	for ; len(edits) >= 3; edits = edits[3:] {
		b[(int(edits[0])<<8|int(edits[1]))%len(b)] = edits[2]
	}
	return b
}
