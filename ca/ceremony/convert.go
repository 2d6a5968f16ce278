package ceremony

import (
	"crypto/x509/pkix"
	"fmt"
	"net"
	"slices"
	"time"

	"mintmark/ca"
)

// Kind is root, issuing, cross, crl or destroy.
func (s *Step) Kind() string {
	switch {
	case s.Root != nil:
		return "root"
	case s.Issuing != nil:
		return "issuing"
	case s.Cross != nil:
		return "cross"
	case s.CRL != nil:
		return "crl"
	case s.Destroy != nil:
		return "destroy"
	}
	return ""
}

// by is the name of who signs, empty where nobody or the step itself does.
func (s *Step) by() string {
	switch {
	case s.Issuing != nil:
		return s.Issuing.By
	case s.Cross != nil:
		return s.Cross.By
	case s.CRL != nil:
		return s.CRL.By
	}
	return ""
}

// outputs are the names of what the step writes.
func (s *Step) outputs() []string {
	switch {
	case s.Root != nil:
		return []string{s.Root.Outputs.Certificate}
	case s.Issuing != nil:
		return []string{s.Issuing.Outputs.Certificate, s.Issuing.Outputs.Chain}
	case s.Cross != nil:
		return []string{s.Cross.Outputs.Certificate, s.Cross.Outputs.Chain}
	case s.CRL != nil:
		return []string{s.CRL.Outputs.PEM, s.CRL.Outputs.DER}
	}
	return nil
}

// name is the subject as crypto/x509 encodes it.
func (s Subject) name() pkix.Name {
	one := func(text string) []string {
		if text == "" {
			return nil
		}
		return []string{text}
	}
	return pkix.Name{
		Country: one(s.Country), Organization: one(s.Organization), OrganizationalUnit: one(s.OrganizationalUnit),
		Province: one(s.Province), Locality: one(s.Locality), CommonName: s.CommonName, SerialNumber: s.SerialNumber,
	}
}

// sameAttributes reports whether a name has the attributes of the subject and no
// other, in any order and any type of string.
func (s Subject) sameAttributes(n pkix.Name) bool {
	list := func(n pkix.RDNSequence) []string {
		var all []string
		for _, set := range n {
			for _, attribute := range set {
				all = append(all, fmt.Sprintf("%s=%T:%v", attribute.Type, attribute.Value, attribute.Value))
			}
		}
		slices.Sort(all)
		return all
	}
	other := pkix.RDNSequence{n.Names}
	return slices.Equal(list(s.name().ToRDNSequence()), list(other))
}

// constraints are the name constraints as the engine takes them.
func (n Names) constraints() (ca.NameConstraints, error) {
	out := ca.NameConstraints{DNS: n.DNS, Email: n.Email, URI: n.URI}
	for _, text := range n.IP {
		_, network, err := net.ParseCIDR(text)
		if err != nil || network.String() != text {
			return out, fmt.Errorf("ip: %q is not a range of addresses, as in 10.0.0.0/8", text)
		}
		out.IP = append(out.IP, network)
	}
	return out, nil
}

// spec is the CA certificate of a step, as the engine takes it. from is given to
// Template for now.
func spec(step string, subject Subject, until time.Time, length *int, permit, exclude Names, urls URLs) (ca.Spec, error) {
	s := ca.Spec{
		Name: step, Subject: subject.name(), NotAfter: until, PathLen: length,
		CRL: urls.CRL, CAIssuers: urls.CAIssuers, OCSP: urls.OCSP,
	}
	var err error
	if s.Permitted, err = permit.constraints(); err != nil {
		return s, err
	}
	s.Excluded, err = exclude.constraints()
	return s, err
}
