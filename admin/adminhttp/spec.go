package adminhttp

import (
	"crypto/x509/pkix"
	"math"
	"net"
	"net/http"
	"strings"
	"time"

	"mintmark/admin"
	"mintmark/ca"
	"mintmark/issuer"
)

// backdate is how far the notBefore of a CA certificate precedes its making, for
// devices whose clocks are slow.
const backdate = time.Hour

// maxAttribute bounds the attributes of a subject (RFC 5280, Appendix A.1, has
// 64 for most of them; the lint knows each one's own bound).
const maxAttribute = 128

// authoritySpec reads the specification of an authority.
func (h *handler) authoritySpec(in admin.AuthoritySpec) (issuer.AuthoritySpec, error) {
	bad := func(format string, args ...any) (issuer.AuthoritySpec, error) {
		return issuer.AuthoritySpec{}, fail(http.StatusBadRequest, "authority-spec", format, args...)
	}
	if err := checkKeyURI(in.KeyURI); err != nil {
		return issuer.AuthoritySpec{}, err
	}
	spec := issuer.AuthoritySpec{Key: ca.P256, KeyURI: in.KeyURI, Issuer: in.Issuer}
	if in.Key != "" {
		var err error
		if spec.Key, err = ca.ParseAlgorithm(in.Key); err != nil {
			return bad("%v", err)
		}
	}
	if in.ValiditySeconds < 0 || in.ValiditySeconds > math.MaxInt64/int64(time.Second) {
		return bad("a validity of %d seconds is not possible", in.ValiditySeconds)
	}
	subject, err := subjectOf(in.Subject)
	if err != nil {
		return issuer.AuthoritySpec{}, err
	}
	spec.Spec = ca.Spec{
		Name: in.Name, Subject: subject, PathLen: in.PathLen, Backdate: backdate,
		Validity: time.Duration(in.ValiditySeconds) * time.Second,
	}
	if in.NotAfter != nil {
		spec.NotAfter = *in.NotAfter
	}
	if spec.Permitted, err = constraints(in.Permit); err != nil {
		return issuer.AuthoritySpec{}, err
	}
	if spec.Excluded, err = constraints(in.Exclude); err != nil {
		return issuer.AuthoritySpec{}, err
	}
	return spec, nil
}

func subjectOf(n admin.Name) (pkix.Name, error) {
	for _, value := range []string{n.CommonName, n.Organization, n.OrganizationalUnit, n.Locality, n.Province, n.Country, n.SerialNumber} {
		if len([]rune(value)) > maxAttribute || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return pkix.Name{}, fail(http.StatusBadRequest, "authority-spec", "the subject's %q is longer than %d characters or holds a control character", value, maxAttribute)
		}
	}
	// RFC 5280, Appendix A.1: ISO 3166, two capital letters.
	if n.Country != "" && (len(n.Country) != 2 || strings.ToUpper(n.Country) != n.Country) {
		return pkix.Name{}, fail(http.StatusBadRequest, "authority-spec", "country %q is not two capital letters", n.Country)
	}
	list := func(value string) []string {
		if value == "" {
			return nil
		}
		return []string{value}
	}
	return pkix.Name{
		CommonName: n.CommonName, SerialNumber: n.SerialNumber,
		Organization: list(n.Organization), OrganizationalUnit: list(n.OrganizationalUnit),
		Locality: list(n.Locality), Province: list(n.Province), Country: list(n.Country),
	}, nil
}

func constraints(n admin.Names) (ca.NameConstraints, error) {
	c := ca.NameConstraints{DNS: n.DNS, Email: n.Email, URI: n.URI}
	for _, text := range n.IP {
		_, network, err := net.ParseCIDR(text)
		if err != nil {
			return c, fail(http.StatusBadRequest, "authority-spec", "%q is not an IP range as in 10.0.0.0/8", text)
		}
		c.IP = append(c.IP, network)
	}
	return c, nil
}
