package doctor

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"net/http"
	"slices"
)

var renewalPoints = []Point{
	{51, Must, "RFC 7030, 3.3.2", "simplereenroll needs the certificate that is renewed", "renews without a certificate, and with it", renewalNeedsCertificate},
	{52, Must, "RFC 7030, 4.2.2", "subject and alternative names of a renewal are the certificate's, by value", "renews with other names, and with the same ones in another encoding and order", renewalNames},
	{53, Must, "RFC 7030, 4.2.2", "the same key renews, a new key re-keys", "re-enrolls with both", renewAndRekey},
	{54, Should, "RFC 7030, 4.2.2; RFC 6402, 2.8", "ChangeSubjectName changes the names, or is refused in words", "renews with that attribute", renewalChangesNames},
	{55, Derived, "RFC 7030, 3.3.2", "a revoked and an expired certificate are refused in HTTP, not by a TLS alert", "renews with each, for which a 403 must come", refusedInWords},
	{56, Derived, "RFC 7030, 4.2.2", "a renewal does not revoke the old certificate", "renews, and then asks something with the old certificate again", oldStaysGood},
	{92, Interop, "measured: strongSwan, Azure IoT Edge", "a client certificate without its intermediates is verified", "renews with the end-entity certificate alone", leafAlone},
}

func renewalNeedsCertificate(ctx context.Context, p *probe) Result {
	device, err := p.device(ctx)
	if err != nil {
		return unasked(err)
	}
	key := device.PrivateKey.(crypto.Signer)
	a, err := p.submit(ctx, submission{op: "simplereenroll", csr: renewalOf(leafOf(device), key)})
	if err != nil {
		return fail("%v", err)
	}
	if a.status != http.StatusForbidden && a.status != http.StatusUnauthorized {
		return fail("without a certificate: %v", a)
	}
	with, err := p.renews(ctx, device, nil)
	if err != nil {
		return fail("%v", err)
	}
	if !accepted(with.status) {
		return fail("with the certificate: %v", with)
	}
	return pass("without: %d, with: %d", a.status, with.status)
}

// respelled returns the Name with its PrintableStrings as UTF8Strings and the
// other way round.
func respelled(name []byte) ([]byte, bool) {
	e, err := whole(name, tagSequence)
	if err != nil {
		return nil, false
	}
	sets, err := e.children()
	if err != nil {
		return nil, false
	}
	var again [][]byte
	done := false
	for _, set := range sets {
		attributes, err := set.children()
		if err != nil || len(attributes) != 1 {
			return nil, false
		}
		parts, err := attributes[0].children()
		if err != nil || len(parts) != 2 {
			return nil, false
		}
		value := parts[1]
		switch {
		case value.tag == tagPrintable:
			value.tag, done = tagUTF8, true
		case value.tag == tagUTF8 && !bytes.ContainsFunc(value.content, notPrintable):
			value.tag, done = tagPrintable, true
		}
		again = append(again, tlv(tagSet, tlv(tagSequence, parts[0].raw, tlv(value.tag, value.content))))
	}
	return tlv(tagSequence, again...), done
}

// notPrintable reports what a PrintableString cannot hold.
func notPrintable(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !bytes.ContainsRune([]byte(" '()+,-./:=?"), r)
}

func renewalNames(ctx context.Context, p *probe) Result {
	device, err := p.device(ctx)
	if err != nil {
		return unasked(err)
	}
	request := renewalOf(leafOf(device), device.PrivateKey.(crypto.Signer))
	more := tlv(tagSequence, tlv(0x82, []byte("another-"+p.run+".example")))
	refusals := map[string]csr{
		"another subject":                {subject: commonName("another-" + p.run), names: request.names},
		"an alternative name of another": {subject: request.subject, names: more},
	}
	if request.names != nil {
		refusals["without the alternative names"] = csr{subject: request.subject}
	}
	submit := func(c csr) (*answer, error) {
		return p.renews(ctx, device, func(s *submission) {
			s.csr.subject, s.csr.names = c.subject, c.names
			if c.key != nil {
				s.csr.key = c.key
			}
		})
	}
	key, err := p.newKey(ctx)
	if err != nil {
		return fail("%v", err)
	}
	for name, c := range refusals {
		// A key of its own: the device's may be refused for another name.
		c.key = key
		a, err := submit(c)
		if err != nil {
			return fail("%s: %v", name, err)
		}
		if a.status < 400 || a.status >= 500 {
			return fail("%s: %v", name, a)
		}
	}
	took := "the same names"
	if subject, ok := respelled(request.subject); ok {
		a, err := submit(csr{subject: subject, names: request.names})
		if err != nil {
			return fail("the same subject in another string type: %v", err)
		}
		if !accepted(a.status) {
			return fail("the same subject in another string type: %v", a)
		}
		took = "another string type"
	}
	if names, err := whole(request.names, tagSequence); err == nil {
		list, err := names.children()
		if err == nil && len(list) > 1 {
			var turned [][]byte
			for _, e := range slices.Backward(list) {
				turned = append(turned, e.raw)
			}
			a, err := submit(csr{subject: request.subject, names: tlv(tagSequence, turned...)})
			if err != nil {
				return fail("alternative names in another order: %v", err)
			}
			if !accepted(a.status) {
				return fail("alternative names in another order: %v", a)
			}
			took += " and another order"
		}
	}
	return pass("other names refused, %s taken", took)
}

func renewAndRekey(ctx context.Context, p *probe) Result {
	device, err := p.device(ctx)
	if err != nil {
		return unasked(err)
	}
	key, err := p.newKey(ctx)
	if err != nil {
		return fail("%v", err)
	}
	for _, c := range []struct {
		name string
		key  crypto.Signer
	}{{"renewal", device.PrivateKey.(crypto.Signer)}, {"re-key", key}} {
		a, err := p.renews(ctx, device, func(s *submission) { s.csr.key = c.key })
		if err != nil {
			return fail("%s: %v", c.name, err)
		}
		if a.status == http.StatusAccepted {
			continue
		}
		if a.status != http.StatusOK {
			return fail("%s: %v", c.name, a)
		}
		list, err := certificates(a.body)
		if err != nil {
			return fail("%s: %v", c.name, err)
		}
		if !holdsKey(list[0], c.key.Public()) {
			return fail("%s: the certificate holds another key", c.name)
		}
	}
	return pass("both")
}

func renewalChangesNames(ctx context.Context, p *probe) Result {
	device, err := p.device(ctx)
	if err != nil {
		return unasked(err)
	}
	name := "changed-" + p.run
	a, err := p.renews(ctx, device, func(s *submission) {
		s.csr.more = [][]byte{changeOf(commonName(name), nil)}
	})
	if err != nil {
		return fail("%v", err)
	}
	return changed(a, name)
}

func refusedInWords(ctx context.Context, p *probe) Result {
	if p.Revoked == nil && p.Expired == nil {
		return na("needs a revoked certificate, or one that has expired")
	}
	if !p.Enroll {
		return na("needs certificates to be issued (--enroll): a faulty server would issue one")
	}
	for name, c := range map[string]*tls.Certificate{"revoked": p.Revoked, "expired": p.Expired} {
		if c == nil {
			continue
		}
		a, err := p.renews(ctx, c, nil)
		if err != nil {
			return fail("the %s certificate: %v", name, err)
		}
		if a.status != http.StatusForbidden {
			return fail("the %s certificate: %v", name, a)
		}
	}
	return pass("403")
}

func oldStaysGood(ctx context.Context, p *probe) Result {
	device, err := p.device(ctx)
	if err != nil {
		return unasked(err)
	}
	key, err := p.newKey(ctx)
	if err != nil {
		return fail("%v", err)
	}
	for _, step := range []string{"re-key", "the old certificate again"} {
		a, err := p.renews(ctx, device, func(s *submission) { s.csr.key = key })
		if err != nil {
			return fail("%s: %v", step, err)
		}
		if !accepted(a.status) {
			return fail("%s: %v", step, a)
		}
	}
	return pass("the old certificate still authenticates")
}

func leafAlone(ctx context.Context, p *probe) Result {
	device, err := p.device(ctx)
	if err != nil {
		return unasked(err)
	}
	leaf := *device
	leaf.Certificate = device.Certificate[:1]
	a, err := p.renews(ctx, &leaf, nil)
	if err != nil {
		return fail("%v", err)
	}
	if !accepted(a.status) {
		return fail("simplereenroll: %v", a)
	}
	return pass("%v", a)
}
