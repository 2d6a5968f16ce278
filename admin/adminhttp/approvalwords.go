package adminhttp

import (
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"mintmark/admin"
	"mintmark/ca"
	"mintmark/internal/keystore"
	"mintmark/internal/ledger"
	"mintmark/issuer"
)

// specWords says what an authority will be.
func specWords(spec issuer.AuthoritySpec, in admin.AuthoritySpec) string {
	words := []string{
		fmt.Sprintf("subject %q", spec.Subject.String()),
		fmt.Sprintf("key %s %s", spec.Key, keyWords(in.KeyURI)),
	}
	switch {
	case !spec.NotAfter.IsZero():
		words = append(words, "valid until "+spec.NotAfter.UTC().Format(time.RFC3339))
	case spec.Validity > 0:
		words = append(words, "valid for "+lengthWords(spec.Validity)+" from the day it is made")
	}
	if spec.PathLen == nil {
		words = append(words, "any number of CAs below it")
	} else {
		words = append(words, fmt.Sprintf("path length %d", *spec.PathLen))
	}
	for _, set := range []struct {
		word  string
		names ca.NameConstraints
	}{{"only", spec.Permitted}, {"never", spec.Excluded}} {
		var ranges []string
		for _, network := range set.names.IP {
			ranges = append(ranges, network.String())
		}
		for _, kind := range []struct {
			word   string
			values []string
		}{{"DNS", set.names.DNS}, {"IP", ranges}, {"e-mail", set.names.Email}, {"URI", set.names.URI}} {
			if len(kind.values) > 0 {
				words = append(words, fmt.Sprintf("%s %s %s", set.word, kind.word, quoted(kind.values)))
			}
		}
	}
	return strings.Join(words, ", ")
}

// quoted keeps values apart from the words around them.
func quoted(values []string) string {
	text := fmt.Sprintf("%q", values)
	return text[1 : len(text)-1]
}

// lengthWords says a length of time in years where it is whole ones.
func lengthWords(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d%(365*day) == 0:
		return fmt.Sprintf("%d years of 365 days", d/(365*day))
	case d%day == 0:
		return fmt.Sprintf("%d days", d/day)
	default:
		return d.String()
	}
}

// keyWords says where a key is made.
func keyWords(uri string) string {
	if uri == "" {
		return "in an encrypted file"
	}
	return fmt.Sprintf("in %q", uri)
}

// importWords says what an imported authority is.
func (h *handler) importWords(a *ca.Authority, keyURI string) string {
	certificate := a.Certificate()
	key := "without its key: it is trusted and signs nothing here"
	waits := slices.ContainsFunc(h.RA.Waiting(), func(w ledger.Authority) bool { return w.Name == a.Name() })
	switch {
	case keyURI != "":
		key = fmt.Sprintf("with its key in %q", keyURI)
	case waits:
		key = "with the key that was made for it here"
	}
	return fmt.Sprintf("import CA %q: subject %q, issuer %q, valid until %s, certificate SHA-256 %x, %s",
		a.Name(), certificate.Subject.String(), certificate.Issuer.String(), certificate.NotAfter.UTC().Format(time.RFC3339),
		sha256.Sum256(certificate.Raw), key)
}

// checkKeyURI refuses a key URI that is not understood or has a secret in it: what is
// proposed is on record for everyone to read.
func checkKeyURI(uri string) error {
	if uri == "" {
		return nil
	}
	if err := keystore.CheckURI(uri); err != nil {
		return fail(http.StatusBadRequest, "key-uri", "key_uri: %v", err)
	}
	return nil
}

// rolloverWords says what a rollover certifies, and what of it was signed elsewhere.
func rolloverWords(plan *issuer.RolloverPlan, made issuer.BridgeFiles) string {
	old, new := plan.Old, plan.New
	root := func(a *ca.Authority) string {
		return fmt.Sprintf("%q (subject %q, certificate SHA-256 %x)", a.Name(), a.Certificate().Subject.String(), sha256.Sum256(a.Certificate().Raw))
	}
	end := func(c *x509.Certificate) string {
		text := c.NotAfter.UTC().Format(time.RFC3339)
		if c == made.OldWithNew || c == made.NewWithOld {
			text += fmt.Sprintf(" (by the certificate that comes with this, SHA-256 %x)", sha256.Sum256(c.Raw))
		}
		return text
	}
	text := fmt.Sprintf("roll over from root CA %s to root CA %s: %q certifies the key of %q until %s", root(old), root(new), new.Name(), old.Name(), end(plan.OldWithNew))
	return text + fmt.Sprintf(", and %q that of %q until %s; whoever trusts one of them then trusts both", old.Name(), new.Name(), end(plan.NewWithOld))
}

// raWords says what the certificate of a registration authority is worth.
func raWords(csr *x509.CertificateRequest, in admin.Issue, labels []string) string {
	where := "at every label that takes the profile, of which this server has none"
	if len(labels) > 0 {
		where = "at the labels " + quoted(labels)
	}
	return fmt.Sprintf("issue the certificate of a registration authority under CA %q with profile %q: subject %q, public key SHA-256 %x; whoever has that key can enroll any device %s",
		in.Issuer, in.Profile, issuer.NameText(csr.Subject, csr.RawSubject), sha256.Sum256(csr.RawSubjectPublicKeyInfo), where)
}
