package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"mintmark/admin"
	"mintmark/awsreg"
	"mintmark/dpsreg/dps"
	"mintmark/issuer/batch"
)

// The lists that a plan may name.
const (
	awsList   = "aws=" // and the target
	azureList = "azure="
	dpsList   = "dps"
)

// batchLists are the files for clouds that a plan names.
func batchLists(ctx context.Context, client *admin.Client, plan batch.Plan) ([]batch.List, error) {
	var lists []batch.List
	for _, name := range plan.Lists {
		target, aws := strings.CutPrefix(name, awsList)
		plant, azure := strings.CutPrefix(name, azureList)
		switch {
		case aws:
			template, err := client.AWSBulkTemplate(ctx, target, plan.Issuer)
			if err != nil {
				return nil, err
			}
			lists = append(lists, awsThings(plan, template))
		case azure:
			ask := func(devices []string) ([]json.RawMessage, error) {
				return client.AzureBulk(ctx, plant, admin.AzureBulk{Profile: plan.Profile, Order: plan.Order, Devices: devices})
			}
			if _, err := ask([]string{}); err != nil {
				return nil, err
			}
			lists = append(lists, targetEnrollments(ask))
		case name == dpsList:
			lists = append(lists, dpsEnrollments())
		default:
			return nil, fmt.Errorf("the plan names a list %q that this program does not write", name)
		}
	}
	return lists, nil
}

// awsThings writes what StartThingRegistrationTask reads: the parameters of the template for
// one thing a line.
// https://docs.aws.amazon.com/iot/latest/developerguide/bulk-provisioning.html
func awsThings(plan batch.Plan, template json.RawMessage) batch.List {
	var indented bytes.Buffer
	if json.Indent(&indented, template, "", "  ") != nil {
		indented.Write(template)
	}
	indented.WriteByte('\n')
	return batch.List{
		Name: "aws-things.ndjson", Beside: "aws-template.json", With: indented.Bytes(),
		Add: func(one batch.Listed) ([]byte, error) {
			ca := plan.Root
			if len(one.Chain) > 0 {
				ca = one.Chain[0].Raw
			}
			line, err := json.Marshal(struct{ ThingName, CertificatePem, CACertificatePem string }{
				awsreg.ThingName(one.Inventory), string(certificatePEM(one.Certificate)),
				string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca})),
			})
			return append(line, '\n'), err
		},
	}
}

// dpsPerCall is how many enrollments a bulk operation of DPS takes.
// https://learn.microsoft.com/rest/api/iot-dps/service/individual-enrollment/run-bulk-operation
const dpsPerCall = 10

// enrollmentsFile has the bodies of bulk operations, one a line.
const enrollmentsFile = "dps-enrollments.ndjson"

// bulkLine is the body of one operation.
func bulkLine[E any](list []E) ([]byte, error) {
	line, err := json.Marshal(struct {
		Mode        dps.BulkMode `json:"mode"`
		Enrollments []E          `json:"enrollments"`
	}{dps.BulkCreate, list})
	return append(line, '\n'), err
}

// targetEnrollments writes the individual enrollments that a target of the server has for the
// devices, which the server knows: so many are asked for at a time.
func targetEnrollments(ask func(devices []string) ([]json.RawMessage, error)) batch.List {
	var devices []string
	flush := func() ([]byte, error) {
		if len(devices) == 0 {
			return nil, nil
		}
		list, err := ask(devices)
		if err != nil {
			return nil, err
		}
		devices = devices[:0]
		var lines []byte
		for ten := range slices.Chunk(list, dpsPerCall) {
			line, err := bulkLine(ten)
			if err != nil {
				return nil, err
			}
			lines = append(lines, line...)
		}
		return lines, nil
	}
	return batch.List{
		Name: enrollmentsFile,
		Add: func(one batch.Listed) ([]byte, error) {
			if devices = append(devices, one.Inventory); len(devices) < admin.MaxBatchItems {
				return nil, nil
			}
			return flush()
		},
		End: flush,
	}
}

// dpsEnrollments writes individual enrollments, each with the certificate of its device and
// nothing else.
func dpsEnrollments() batch.List {
	var open []dps.Enrollment
	flush := func() ([]byte, error) {
		if len(open) == 0 {
			return nil, nil
		}
		line, err := bulkLine(open)
		open = open[:0]
		return line, err
	}
	return batch.List{
		Name: enrollmentsFile,
		Add: func(one batch.Listed) ([]byte, error) {
			id := strings.ToLower(one.Certificate.Subject.CommonName)
			if err := checkRegistrationID(id); err != nil {
				return nil, err
			}
			open = append(open, dps.Enrollment{
				RegistrationID: id, Status: dps.Enabled,
				Attestation: dps.Attestation{Type: "x509", X509: &dps.X509{Client: &dps.Slots{
					Primary: &dps.Certificate{Certificate: string(certificatePEM(one.Certificate))},
				}}},
			})
			if len(open) < dpsPerCall {
				return nil, nil
			}
			return flush()
		},
		End: flush,
	}
}

// registrationID is what DPS takes as one, in lower case.
// https://learn.microsoft.com/azure/iot-dps/concepts-service#registration-id
var registrationID = regexp.MustCompile(`^[a-z0-9._:-]{0,127}[a-z0-9-]$`)

func checkRegistrationID(id string) error {
	if !registrationID.MatchString(id) {
		return fmt.Errorf("DPS takes no device whose certificate has the common name %q: letters, digits and . _ : - are allowed, and a letter, a digit or - at the end", id)
	}
	return nil
}

// onlyRegistrationIDs ends a list of devices at one that DPS would not take, before any
// certificate is issued.
func onlyRegistrationIDs(devices func(func(batch.Item, error) bool)) func(func(batch.Item, error) bool) {
	return func(yield func(batch.Item, error) bool) {
		for item, err := range devices {
			if err == nil && item.CSR == nil {
				err = checkRegistrationID(strings.ToLower(item.Name))
			}
			// What is no request is refused by whoever reads it next.
			if csr, bad := x509.ParseCertificateRequest(item.CSR); err == nil && bad == nil {
				err = checkRegistrationID(strings.ToLower(csr.Subject.CommonName))
			}
			if !yield(item, err) {
				return
			}
		}
	}
}
