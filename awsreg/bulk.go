package awsreg

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"

	"mintmark/internal/ledger"
)

// Bulk is the input of one StartThingRegistrationTask.
// https://docs.aws.amazon.com/iot/latest/developerguide/bulk-provisioning.html
type Bulk struct {
	Template string // provisioning template, JSON
	Things   int
}

const (
	// maxLine is the length of a line that AWS takes, in bytes.
	// https://docs.aws.amazon.com/general/latest/gr/iot-core.html#bulk-thing-registration
	maxLine = 256 << 10
	// maxTemplateBody is the length of a template.
	maxTemplateBody = 10240
)

// bulkLine is one line: the parameters of the template for one thing.
type bulkLine struct {
	ThingName        string
	CertificatePem   string
	CACertificatePem string
}

// WriteBulk writes one line of JSON for each valid device certificate that the
// query finds under a CA of the target with UseRegister, as
// StartThingRegistrationTask reads it, and returns the template that goes with it.
// Certificates of devices that are held or retired are left out. Whether the
// devices came in is for Reconcile to see.
//
// One template has one policy, type and list of groups, so that CAs with different
// ones need a query each; and a CA in mode NONE has none, since bulk registration
// takes a certificate together with its CA.
func (r *Registrar) WriteBulk(ctx context.Context, t Target, query ledger.Query, w io.Writer) (Bulk, error) {
	if err := r.needRecords(); err != nil {
		return Bulk{}, err
	}
	if err := t.Validate(); err != nil {
		return Bulk{}, err
	}
	cas, register, err := r.bulkCAs(ctx, t, query.Issuer)
	if err != nil {
		return Bulk{}, fmt.Errorf("AWS target %q: bulk registration: %w", t.Name, err)
	}
	body, err := bulkTemplate(*register)
	if err != nil {
		return Bulk{}, fmt.Errorf("AWS target %q: bulk registration: %w", t.Name, err)
	}
	bulk := Bulk{Template: body}
	query.Purpose, query.State = ledger.ForDevice, ledger.Valid
	err = r.eachCertificate(ctx, query, func(c ledger.Certificate) error {
		ca, is := cas[c.Issuer]
		if !is || len(c.DER) == 0 || !c.InForce(r.cfg.Now()) {
			return nil
		}
		held, err := r.outOfService(ctx, c.Device)
		if err != nil || held {
			return err
		}
		line, err := encodeLine(bulkLine{ThingName(c.Device), certificatePEM(c.DER), ca})
		if err != nil {
			return fmt.Errorf("certificate %s: %w", c.Serial, err)
		}
		if _, err := w.Write(line); err != nil {
			return fmt.Errorf("writing the bulk file: %w", err)
		}
		bulk.Things++
		return nil
	})
	return bulk, err
}

// bulkCAs are the CAs, in PEM by name, whose certificates go into one bulk file,
// and the settings that they share.
func (r *Registrar) bulkCAs(ctx context.Context, t Target, only string) (map[string]string, *Register, error) {
	cas := make(map[string]string)
	var register *Register
	for _, ca := range t.CAs {
		switch {
		case ca.Use != UseRegister || ca.other() || only != "" && ca.Issuer != only:
			continue
		case ca.Mode == ModeNone:
			if only == ca.Issuer {
				return nil, nil, fmt.Errorf("CA %q is in mode NONE: bulk registration takes certificates of registered CAs", ca.Issuer)
			}
			continue
		case register != nil && !reflect.DeepEqual(*register, *ca.Register):
			return nil, nil, errors.New("its CAs have different policies, types or groups: name one CA in the query")
		}
		issuer, err := r.issuer(ctx, ca.Issuer)
		if err != nil {
			return nil, nil, err
		}
		register, cas[ca.Issuer] = ca.Register, certificatePEM(issuer.Certificate.Raw)
	}
	if register == nil && only != "" {
		return nil, nil, fmt.Errorf("CA %q is not one of use %q", only, UseRegister)
	}
	if register == nil {
		return nil, nil, fmt.Errorf("it has no registered CA of use %q; one with mode NONE has nothing that a bulk registration could take its certificates under", UseRegister)
	}
	return cas, register, nil
}

func encodeLine(line bulkLine) ([]byte, error) {
	data, err := json.Marshal(line)
	if err != nil {
		return nil, err
	}
	if len(data)+1 > maxLine {
		return nil, fmt.Errorf("its line has %d bytes, AWS takes %d", len(data)+1, maxLine)
	}
	return append(data, '\n'), nil
}

// bulkTemplate is the template of a bulk file: a thing, a certificate and a policy.
// https://docs.aws.amazon.com/iot/latest/developerguide/provision-template.html
func bulkTemplate(register Register) (string, error) {
	type member = map[string]any
	ref := func(name string) member { return member{"Ref": name} }
	text := member{"Type": "String"}
	thing := member{"ThingName": ref("ThingName")}
	if register.ThingType != "" {
		thing["ThingTypeName"] = register.ThingType
	}
	if len(register.Groups) > 0 {
		thing["ThingGroups"] = register.Groups
	}
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetIndent("", "  ")
	err := encoder.Encode(member{
		"Parameters": member{"ThingName": text, "CertificatePem": text, "CACertificatePem": text},
		"Resources": member{
			"thing": member{"Type": "AWS::IoT::Thing", "Properties": thing, "OverrideSettings": member{
				"AttributePayload": "MERGE", "ThingTypeName": "DO_NOTHING", "ThingGroups": "DO_NOTHING",
			}},
			"certificate": member{"Type": "AWS::IoT::Certificate", "Properties": member{
				"CertificatePem": ref("CertificatePem"), "CACertificatePem": ref("CACertificatePem"), "Status": "ACTIVE",
			}},
			"policy": member{"Type": "AWS::IoT::Policy", "Properties": member{"PolicyName": register.Policy}},
		},
	})
	if err != nil {
		return "", fmt.Errorf("encoding the template: %w", err)
	}
	if body.Len() > maxTemplateBody {
		return "", fmt.Errorf("the template has %d bytes, AWS takes %d", body.Len(), maxTemplateBody)
	}
	return body.String(), nil
}
