package ceremony

import (
	"fmt"
	"math/big"
)

// reasons are the reason codes of a full CRL (RFC 5280, Section 5.3.1).
var reasons = map[string]int{
	"": 0, "unspecified": 0, "keyCompromise": 1, "CACompromise": 2, "affiliationChanged": 3, "superseded": 4,
	"cessationOfOperation": 5, "certificateHold": 6, "privilegeWithdrawn": 9, "AACompromise": 10,
}

// steps checks each step, and that keys are destroyed after everything else.
func (c *checker) steps(list []Step) {
	var destroys string
	for i := range list {
		s := &list[i]
		field := fmt.Sprintf("steps[%d]", i)
		kinds := 0
		for _, set := range []bool{s.Root != nil, s.Issuing != nil, s.Cross != nil, s.CRL != nil, s.Destroy != nil} {
			if set {
				kinds++
			}
		}
		if kinds != 1 {
			c.bad(field, "a step is exactly one of root, issuing, cross, crl, destroy; this one is %d of them", kinds)
			continue
		}
		if destroys != "" && s.Destroy == nil {
			c.bad(field, "comes after step %q, which destroys a key: keys are destroyed after everything else", destroys)
		}
		c.step(field+"."+s.Kind(), s)
		if s.Destroy != nil {
			destroys = s.Name
		}
		c.unique(field+".name", s.Name)
		if s.Root != nil {
			c.signers[s.Name] = true
		}
	}
}

func (c *checker) step(field string, s *Step) {
	switch {
	case s.Root != nil:
		c.key(field+".key", s.Root.Key)
		c.algorithm(field+".algorithm", s.Root.Algorithm)
		c.subject(field+".subject", s.Root.Subject)
		c.period(field, "from", "until", s.Root.From, s.Root.Until)
		c.limits(field, s.Root.PathLength, s.Root.Permit, s.Root.Exclude)
		c.output(field+".outputs.certificate", s.Name, s.Root.Outputs.Certificate)
	case s.Issuing != nil:
		c.by(field+".by", s.Issuing.By)
		c.input(field+".request", s.Issuing.Request)
		c.algorithm(field+".algorithm", s.Issuing.Algorithm)
		c.subject(field+".subject", s.Issuing.Subject)
		if id := s.Issuing.KeyID; id != "" && !hexKeyID.MatchString(id) {
			c.bad(field+".key_id", "%q is not a key identifier of 8 to 32 octets in lower-case hexadecimal", id)
		}
		c.period(field, "from", "until", s.Issuing.From, s.Issuing.Until)
		c.limits(field, s.Issuing.PathLength, s.Issuing.Permit, s.Issuing.Exclude)
		c.outputs2(field, s.Name, s.Issuing.Outputs)
	case s.Cross != nil:
		c.by(field+".by", s.Cross.By)
		if !c.named[s.Cross.Of] {
			c.bad(field+".of", "%q is no authority and no earlier step", s.Cross.Of)
		}
		if s.Cross.Of == s.Cross.By {
			c.bad(field+".of", "%q would certify itself", s.Cross.Of)
		}
		c.period(field, "from", "until", s.Cross.From, s.Cross.Until)
		c.limits(field, s.Cross.PathLength, Names{}, Names{})
		c.outputs2(field, s.Name, s.Cross.Outputs)
	case s.CRL != nil:
		c.crl(field, s.Name, s.CRL)
	case s.Destroy != nil:
		c.key(field+".key", s.Destroy.Key)
		c.digest(field+".sha256", s.Destroy.SHA256)
		if s.Destroy.Confirm != "destroy" {
			c.bad(field+".confirm", "must be destroy: a destroyed key does not come back")
		}
	}
}

func (c *checker) crl(field, step string, l *CRL) {
	c.by(field+".by", l.By)
	if l.Number < 1 {
		c.bad(field+".number", "%d is not a positive number", l.Number)
	}
	c.period(field, "this_update", "next_update", l.ThisUpdate, l.NextUpdate)
	if l.Previous != nil {
		c.input(field+".previous", *l.Previous)
	}
	if len(l.Entries) > maxEntries {
		c.bad(field+".entries", "there are more than %d", maxEntries)
	}
	seen := map[string]bool{}
	for i, e := range l.Entries {
		at := fmt.Sprintf("%s.entries[%d]", field, i)
		n := serialOf(e.Serial)
		switch {
		case n == nil || n.Sign() == 0:
			c.bad(at+".serial", "%q is not a serial number of at most 20 octets in lower-case hexadecimal", e.Serial)
			continue
		case seen[n.Text(16)]:
			c.bad(at+".serial", "%s is there twice", e.Serial)
		}
		seen[n.Text(16)] = true
		if _, ok := reasons[e.Reason]; !ok {
			c.bad(at+".reason", "%q is no reason of a full CRL, as in keyCompromise (RFC 5280, Section 5.3.1)", e.Reason)
		}
		switch {
		case e.Revoked.IsZero():
			c.bad(at+".revoked", "is missing")
		case e.Revoked.After(l.ThisUpdate):
			c.bad(at+".revoked", "%s is after this_update", timeText(e.Revoked))
		}
	}
	c.output(field+".outputs.pem", step, l.Outputs.PEM)
	c.output(field+".outputs.der", step, l.Outputs.DER)
}

// serialOf reads a serial number, nil if it is none.
func serialOf(text string) *big.Int {
	if !hexSerial.MatchString(text) {
		return nil
	}
	n, _ := new(big.Int).SetString(text, 16)
	return n
}
