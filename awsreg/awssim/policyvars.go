package awssim

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"strconv"
	"strings"

	"mintmark/internal/pattern"
)

var variablePattern = pattern.New(`\$\{([^}]*)\}`)

// nameAttributes are the attributes of Subject and Issuer that policies can
// refer to (AWS IoT developer guide, cert-policy-variables).
var nameAttributes = map[string]asn1.ObjectIdentifier{
	"CommonName":                 {2, 5, 4, 3},
	"Surname":                    {2, 5, 4, 4},
	"SerialNumber":               {2, 5, 4, 5},
	"Country":                    {2, 5, 4, 6},
	"State":                      {2, 5, 4, 8},
	"Organization":               {2, 5, 4, 10},
	"OrganizationalUnit":         {2, 5, 4, 11},
	"Title":                      {2, 5, 4, 12},
	"GivenName":                  {2, 5, 4, 42},
	"Initials":                   {2, 5, 4, 43},
	"GenerationQualifier":        {2, 5, 4, 44},
	"DistinguishedNameQualifier": {2, 5, 4, 46},
	"Pseudonym":                  {2, 5, 4, 65},
}

// knownVariable reports whether the simulator can evaluate a policy variable.
func knownVariable(name string) bool {
	switch name {
	case "iot:ClientId", "iot:CertificateId", "iot:Certificate.SerialNumber",
		"iot:Connection.Thing.ThingName", "iot:Connection.Thing.IsAttached", "iot:Connection.Thing.ThingTypeName":
		return true
	}
	if rest, ok := strings.CutPrefix(name, "iot:Connection.Thing.Attributes["); ok {
		return len(rest) > 1 && strings.HasSuffix(rest, "]")
	}
	_, _, ok := certVariable(name)
	return ok
}

// certVariable splits iot:Certificate.Subject.CommonName and the like.
func certVariable(name string) (issuer bool, oid asn1.ObjectIdentifier, ok bool) {
	attr, isSubject := strings.CutPrefix(name, "iot:Certificate.Subject.")
	if !isSubject {
		var isIssuer bool
		if attr, isIssuer = strings.CutPrefix(name, "iot:Certificate.Issuer."); !isIssuer {
			return false, nil, false
		}
	}
	oid, ok = nameAttributes[attr]
	return !isSubject, oid, ok
}

// checkVariables refuses variables that the simulator could not resolve.
func checkVariables(s string) error {
	for _, m := range variablePattern.FindAllStringSubmatch(s, -1) {
		if !knownVariable(m[1]) {
			return fmt.Errorf("this AWS simulator does not have the policy variable %q", m[0])
		}
	}
	return nil
}

// substitute replaces the variables of s. False means that one of them is not
// available, or that its value would itself be a wildcard: then nothing matches
// (AWS IoT developer guide, cert-policy-variables).
func substitute(s string, vars variables) (string, bool) {
	if !strings.Contains(s, "${") {
		return s, true
	}
	complete := true
	out := variablePattern.ReplaceAllStringFunc(s, func(m string) string {
		v, ok := vars(m[2 : len(m)-1])
		if !ok || strings.ContainsAny(v, "*?") {
			complete = false
		}
		return v
	})
	return out, complete
}

// variablesOf resolves policy variables for a device. The caller holds w.mu.
func (w *world) variablesOf(cert *certificate, clientID string) variables {
	th := w.connectionThing(cert.id, clientID)
	return func(name string) (string, bool) {
		switch name {
		case "iot:ClientId":
			return clientID, true
		case "iot:CertificateId":
			return cert.id, true
		case "iot:Certificate.SerialNumber":
			// In which notation is not documented; lower-case hex is the choice here.
			return serialHex(cert.cert), true
		case "iot:Connection.Thing.IsAttached":
			return strconv.FormatBool(th != nil), true
		case "iot:Connection.Thing.ThingName":
			if th != nil {
				return th.name, true
			}
			return "", false
		case "iot:Connection.Thing.ThingTypeName":
			if th != nil && th.typeName != "" {
				return th.typeName, true
			}
			return "", false
		}
		if rest, ok := strings.CutPrefix(name, "iot:Connection.Thing.Attributes["); ok {
			if th == nil {
				return "", false
			}
			v, ok := th.attributes[strings.TrimSuffix(rest, "]")]
			return v, ok
		}
		issuer, oid, ok := certVariable(name)
		if !ok {
			return "", false
		}
		if issuer {
			return firstValue(cert.cert.Issuer, oid)
		}
		return firstValue(cert.cert.Subject, oid)
	}
}

// connectionThing is the thing that a policy is evaluated for: the one whose name
// is the client id, if the certificate is attached to it, else the only thing
// that the certificate is attached to exclusively (AWS IoT developer guide,
// thing-policy-variables).
func (w *world) connectionThing(certID, clientID string) *thing {
	if th, ok := w.things[clientID]; ok {
		if _, attached := th.principals[certID]; attached {
			return th
		}
	}
	for _, th := range w.thingsOf(certID) {
		if th.principals[certID] {
			return th
		}
	}
	return nil
}

// firstValue is the value of an attribute of a name; of several, the first (AWS
// IoT developer guide, cert-policy-variables).
func firstValue(name pkix.Name, oid asn1.ObjectIdentifier) (string, bool) {
	for _, atv := range name.Names {
		if atv.Type.Equal(oid) {
			s, ok := atv.Value.(string)
			return s, ok && s != ""
		}
	}
	return "", false
}

func serialHex(cert *x509.Certificate) string { return fmt.Sprintf("%x", cert.SerialNumber) }
