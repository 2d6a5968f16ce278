// Command fleet is a pre-provisioning hook and a certificate provider for tests. What
// it does is said by the event: by the parameter "mode" of a device, and by the common
// name of a certification request.
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
)

type event struct {
	ClaimCertificateID string            `json:"claimCertificateId"`
	CertificateID      string            `json:"certificateId"`
	CertificatePem     string            `json:"certificatePem"`
	TemplateARN        string            `json:"templateArn"`
	ClientID           string            `json:"clientId"`
	Parameters         map[string]string `json:"parameters"`

	CSR         string `json:"certificateSigningRequest"`
	PrincipalID string `json:"principalId"`
}

func handle(_ context.Context, e event) (any, error) {
	if e.CSR != "" {
		return provide(e)
	}
	switch mode := e.Parameters["mode"]; mode {
	case "error":
		return nil, errors.New("the hook is out of order")
	case "exit":
		os.Exit(7)
	case "hang":
		select {}
	case "deny":
		return map[string]any{"allowProvisioning": false}, nil
	case "raw": // an answer of the test's own
		return json.RawMessage(e.Parameters["raw"]), nil
	case "pid":
		return map[string]int{"pid": os.Getpid()}, nil
	}
	if e.ClaimCertificateID == "" || e.CertificateID == "" || e.CertificatePem == "" || e.TemplateARN == "" || e.ClientID == "" {
		return nil, fmt.Errorf("the event is not complete: %+v", e)
	}
	return map[string]any{"allowProvisioning": true, "parameterOverrides": map[string]string{
		"CertDate": "20260102", "AWS::IoT::Certificate::Id": "0000"}}, nil
}

func provide(e event) (any, error) {
	block, _ := pem.Decode([]byte(e.CSR))
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, err
	}
	if e.PrincipalID == "" { // the API has no client id
		return nil, fmt.Errorf("the event is not complete: %+v", e)
	}
	subject, public, until := csr.Subject, csr.PublicKey, time.Now().Add(time.Hour)
	ca, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	switch csr.Subject.CommonName {
	case "refused":
		return nil, errors.New("the authority does not issue to " + e.PrincipalID)
	case "empty":
		return map[string]string{}, nil
	case "garbage":
		return map[string]string{"certificatePem": "garbage"}, nil
	case "subject":
		subject = pkix.Name{CommonName: "another"}
	case "key":
		public = ca.Public()
	case "expired":
		until = time.Now().Add(-time.Minute)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: subject, NotBefore: time.Now().Add(-time.Hour), NotAfter: until}
	issuer := &x509.Certificate{Subject: pkix.Name{CommonName: "Provider CA"}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, issuer, public, ca)
	if err != nil {
		return nil, err
	}
	return map[string]string{"certificatePem": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}, nil
}

func main() { lambda.Start(handle) }
