package doctor

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"
)

var encodingPoints = []Point{
	{15, Must, "RFC 8951, 3", "a request is base64, whatever Content-Transfer-Encoding says", "enrolls without that field and with base64, binary and 7bit in it", transferEncoding},
	{16, Should, "RFC 8951, 3.1", "white space anywhere in the base64 of a request is passed over", "enrolls with CR LF, LF, space and tab strewn in", whiteSpace},
	{17, Must, "RFC 8951, 3; RFC 4648, 4", "an answer is the base64 of DER", "decodes cacerts strictly, line breaks allowed", answerBase64},
	{18, Derived, "X.690, 10 and 11; RFC 5652, 5.1", "the DER of answers is DER", "walks through cacerts and, where there is one, an issued certificate: lengths, sorted sets, no empty crls", answerDER},
	{19, Derived, "RFC 7030, 4.2.3", "what is not a request gets 400 or 413, and never a certificate or a 500", "posts bad base64, cut off and overlong DER, something behind the DER, and too much", garbage},
	{91, Interop, "measured: curl users, lgtti", "a request in PEM is taken", "enrolls with a request in PEM", pemRequest},
	{98, Interop, "measured: libest", "a request with a malformed extensionRequest gets 400 with a reason", "posts one whose extensionRequest holds a NULL", malformedExtensions},
}

// variant enrolls the first device again, in another way.
type variant struct {
	name   string
	header []string
	body   func([]byte) []byte
}

// each submits variants of one request, which must all be taken.
func (p *probe) each(ctx context.Context, variants []variant) Result {
	s, err := p.again(ctx)
	if err != nil {
		return unasked(err)
	}
	for _, v := range variants {
		s.header, s.body = v.header, v.body
		a, err := p.submit(ctx, s)
		if err != nil {
			return fail("%s: %v", v.name, err)
		}
		if !accepted(a.status) {
			return fail("%s: %v", v.name, a)
		}
	}
	return pass("%s", counted(len(variants), "request")+" taken")
}

func transferEncoding(ctx context.Context, p *probe) Result {
	list := []variant{{name: "without Content-Transfer-Encoding"}}
	for _, value := range []string{"base64", "binary", "7bit"} {
		list = append(list, variant{name: "Content-Transfer-Encoding: " + value, header: []string{typePKCS10, "Content-Transfer-Encoding: " + value}})
	}
	return p.each(ctx, list)
}

func whiteSpace(ctx context.Context, p *probe) Result {
	var list []variant
	for _, gap := range []string{"\r\n", "\n", " ", "\t", "\r"} {
		list = append(list, variant{name: fmt.Sprintf("with %q", gap), body: func(der []byte) []byte {
			var b bytes.Buffer
			for i, c := range encode(der) {
				if i%13 == 5 {
					b.WriteString(gap)
				}
				b.WriteByte(c)
			}
			b.WriteString(gap)
			return b.Bytes()
		}})
	}
	return p.each(ctx, list)
}

func pemRequest(ctx context.Context, p *probe) Result {
	return p.each(ctx, []variant{{name: "in PEM", body: func(der []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	}}})
}

func answerBase64(ctx context.Context, p *probe) Result {
	a, err := p.askCACerts(ctx)
	if err != nil {
		return fail("%v", err)
	}
	if a.status != http.StatusOK {
		return fail("cacerts answered %v", a)
	}
	text := strings.NewReplacer("\r\n", "", "\n", "").Replace(string(a.body))
	der, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return fail("cacerts: %v; it begins with %q", err, excerpt(a.body[:min(len(a.body), 24)]))
	}
	if len(der) == 0 || der[0] != tagSequence {
		return fail("cacerts decodes to something that is no DER SEQUENCE")
	}
	return pass("%d bytes of base64, %d of DER", len(a.body), len(der))
}

func answerDER(ctx context.Context, p *probe) Result {
	a, err := p.askCACerts(ctx)
	if err != nil {
		return fail("%v", err)
	}
	der, err := decodeBase64(a.body)
	if err == nil {
		err = checkCertsOnlyDER(der)
	}
	if err != nil {
		return fail("cacerts: %v", err)
	}
	e, err := p.first(ctx)
	if err != nil {
		return pass("cacerts is")
	}
	if der, err = decodeBase64(e.answer.body); err == nil {
		err = checkCertsOnlyDER(der)
	}
	if err != nil {
		return fail("simpleenroll: %v", err)
	}
	return pass("cacerts and simpleenroll are")
}

// garbage needs no certificate, but something to authenticate with: otherwise the
// server need not look at it. A faulty server might issue what it should not.
func garbage(ctx context.Context, p *probe) Result {
	s, err := p.again(ctx)
	if err != nil {
		return unasked(err)
	}
	for _, c := range []variant{
		{name: "nothing", body: func([]byte) []byte { return nil }},
		{name: "bad base64", body: func(der []byte) []byte { return append(encode(der)[:40], "%%%%"...) }},
		{name: "characters behind the base64", body: func(der []byte) []byte { return append(encode(der), "!"...) }},
		{name: "DER that is cut off", body: func(der []byte) []byte { return encode(der[:len(der)-3]) }},
		{name: "a byte behind the DER", body: func(der []byte) []byte { return encode(append(bytes.Clone(der), 0)) }},
		{name: "no DER", body: func([]byte) []byte { return encode([]byte("certification request")) }},
		{name: "200 KB", body: func([]byte) []byte { return bytes.Repeat([]byte("A"), 200<<10) }},
	} {
		s.body = c.body
		a, err := p.submit(ctx, s)
		if err != nil {
			return fail("%s: %v", c.name, err)
		}
		switch a.status {
		case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		default:
			return fail("%s: %v", c.name, a)
		}
	}
	return pass("all refused")
}

func malformedExtensions(ctx context.Context, p *probe) Result {
	s, err := p.again(ctx)
	if err != nil {
		return unasked(err)
	}
	s.csr.more = [][]byte{attribute(oidExtensionRequest, []byte{tagNull, 0})}
	a, err := p.submit(ctx, s)
	if err != nil {
		return fail("%v", err)
	}
	if a.status != http.StatusBadRequest {
		return fail("simpleenroll answered %v", a)
	}
	if excerpt(a.body) == "" {
		return fail("400 without a word")
	}
	return pass("%v", a)
}
