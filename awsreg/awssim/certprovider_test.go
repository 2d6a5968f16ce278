package awssim

import (
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
)

var fromCsr = []types.CertificateProviderOperation{types.CertificateProviderOperationCreateCertificateFromCsr}

// TestCertificateProviders: one in an account, and its shapes.
func TestCertificateProviders(t *testing.T) {
	s := startSim(t)
	c := s.client(first, region)
	name, token := aws.String("ours"), aws.String(strings.Repeat("t", 36))
	create := func(name *string, function string, change ...func(*iot.CreateCertificateProviderInput)) error {
		in := &iot.CreateCertificateProviderInput{CertificateProviderName: name, LambdaFunctionArn: &function, AccountDefaultForOperations: fromCsr, ClientToken: token}
		for _, f := range change {
			f(in)
		}
		_, err := c.CreateCertificateProvider(ctx, in)
		return err
	}
	wantCode(t, create(aws.String("no space"), fleetARN), "InvalidRequestException")
	wantCode(t, create(name, "arn:aws:lambda:eu-central-1:444455556666:function:fleet"), "InvalidRequestException")
	wantCode(t, create(name, fleetARN, func(in *iot.CreateCertificateProviderInput) {
		in.ClientToken = aws.String("short")
	}), "InvalidRequestException")
	wantCode(t, create(name, fleetARN, func(in *iot.CreateCertificateProviderInput) {
		in.AccountDefaultForOperations = []types.CertificateProviderOperation{"Other"}
	}), "InvalidRequestException")
	if list, err := c.ListCertificateProviders(ctx, &iot.ListCertificateProvidersInput{}); err != nil || len(list.CertificateProviders) != 0 {
		t.Errorf("providers: %+v %v", list, err)
	}
	wantCode(t, create(name, fleetARN), "")
	wantCode(t, create(name, fleetARN), "") // the same request again
	wantCode(t, create(name, fleetARN, func(in *iot.CreateCertificateProviderInput) { in.ClientToken = nil }), "ResourceAlreadyExistsException")
	wantCode(t, create(aws.String("second"), fleetARN), "LimitExceededException")
	list, err := c.ListCertificateProviders(ctx, &iot.ListCertificateProvidersInput{AscendingOrder: true})
	if err != nil || len(list.CertificateProviders) != 1 || *list.CertificateProviders[0].CertificateProviderName != "ours" {
		t.Errorf("providers: %+v %v", list, err)
	}
	other := strings.Replace(fleetARN, "function:fleet", "function:other", 1)
	up, err := c.UpdateCertificateProvider(ctx, &iot.UpdateCertificateProviderInput{CertificateProviderName: name, LambdaFunctionArn: &other})
	wantCode(t, err, "")
	d, err := c.DescribeCertificateProvider(ctx, &iot.DescribeCertificateProviderInput{CertificateProviderName: name})
	if err != nil || *d.LambdaFunctionArn != other || len(d.AccountDefaultForOperations) != 1 || d.CreationDate == nil || *d.CertificateProviderArn != *up.CertificateProviderArn {
		t.Errorf("provider: %+v %v", d, err)
	}
	_, err = c.TagResource(ctx, &iot.TagResourceInput{ResourceArn: d.CertificateProviderArn, Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}})
	wantCode(t, err, "")
	_, err = c.DeleteCertificateProvider(ctx, &iot.DeleteCertificateProviderInput{CertificateProviderName: name})
	wantCode(t, err, "")
	_, err = c.DeleteCertificateProvider(ctx, &iot.DeleteCertificateProviderInput{CertificateProviderName: name})
	wantCode(t, err, "ResourceNotFoundException")
	_, err = c.DescribeCertificateProvider(ctx, &iot.DescribeCertificateProviderInput{CertificateProviderName: name})
	wantCode(t, err, "ResourceNotFoundException")
}

// TestCertificateProviderSigns: the function's certificate is the device's, if it keeps
// subject and key.
func TestCertificateProviderSigns(t *testing.T) {
	s := startSim(t, withFleetFunction(t))
	c := makeFleet(t, s, fleetTemplateBody, false)
	a := dialClaim(t, s, makeClaim(t, c, "batch-1", "claim"), "station")
	_, err := c.CreateCertificateProvider(ctx, &iot.CreateCertificateProviderInput{CertificateProviderName: aws.String("ours"),
		LambdaFunctionArn: aws.String(fleetARN), AccountDefaultForOperations: fromCsr})
	wantCode(t, err, "")
	for _, cn := range []string{"refused", "empty", "garbage", "subject", "key"} {
		a.refused(fromCSR, obj{"certificateSigningRequest": requestFor(t, newKey(t), cn)}, 500, "InternalFailure")
	}
	a.refused(fromCSR, obj{"certificateSigningRequest": requestFor(t, newKey(t), "expired")}, 500, "InternalFailure")
	if list, _ := c.ListCertificates(ctx, &iot.ListCertificatesInput{}); len(list.Certificates) != 1 {
		t.Errorf("a refused certificate was registered: %+v", list.Certificates)
	}
	key := newKey(t)
	made := a.mustAsk(fromCSR, obj{"certificateSigningRequest": requestFor(t, key, "4711")})
	block, _ := pem.Decode([]byte(made["certificatePem"].(string)))
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil || cert.Issuer.CommonName != "Provider CA" || !key.PublicKey.Equal(cert.PublicKey) {
		t.Fatalf("certificate: %v %v", cert, err)
	}
	a.mustAsk(provision, obj{"certificateOwnershipToken": made["certificateOwnershipToken"], "parameters": obj{"SerialNumber": "4711"}})
	if _, err := connect(t, s, &pair{cert: cert, key: key}, "unit-4711"); err != nil {
		t.Errorf("connecting as the device: %v", err)
	}
	// The operation of the API asks it too, and registers as ever.
	for _, cn := range []string{"refused", "empty", "garbage", "subject", "key", "expired"} {
		csr := requestFor(t, newKey(t), cn)
		_, err := c.CreateCertificateFromCsr(ctx, &iot.CreateCertificateFromCsrInput{CertificateSigningRequest: &csr})
		wantCode(t, err, "InternalFailureException")
	}
	csr := requestFor(t, key, "by-api")
	out, err := c.CreateCertificateFromCsr(ctx, &iot.CreateCertificateFromCsrInput{CertificateSigningRequest: &csr, SetAsActive: true})
	wantCode(t, err, "")
	block, _ = pem.Decode([]byte(*out.CertificatePem))
	if cert, err = x509.ParseCertificate(block.Bytes); err != nil || cert.Issuer.CommonName != "Provider CA" || !key.PublicKey.Equal(cert.PublicKey) ||
		*out.CertificateId != certificateID(cert) || statusAt(t, c, *out.CertificateId) != "ACTIVE" {
		t.Errorf("by the API: %+v %v", out, err)
	}
	// Keys that AWS makes are not the provider's business.
	made = a.mustAsk("$aws/certificates/create/json", obj{})
	if block, _ = pem.Decode([]byte(made["certificatePem"].(string))); block == nil {
		t.Fatal("no certificate")
	}
	if cert, err = x509.ParseCertificate(block.Bytes); err != nil || cert.Issuer.CommonName == "Provider CA" {
		t.Errorf("certificate: %v %v", cert, err)
	}
	// The function is gone: no certificate, and an answer.
	_, err = c.UpdateCertificateProvider(ctx, &iot.UpdateCertificateProviderInput{CertificateProviderName: aws.String("ours"),
		LambdaFunctionArn: aws.String("arn:aws:lambda:eu-central-1:111122223333:function:gone")})
	wantCode(t, err, "")
	a.refused(fromCSR, obj{"certificateSigningRequest": requestFor(t, newKey(t), "d")}, 500, "InternalFailure")
}
