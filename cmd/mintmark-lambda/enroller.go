package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"mintmark/awsreg/hook"
	"mintmark/issuer/est"
)

// maxSecret bounds the secret, in bytes; AWS Secrets Manager holds 64 KB.
const maxSecret = 64 << 10

// enroller opens the EST label as registration authority, with the key and the
// certificate that the secret holds now. Neither is kept.
func enroller(s settings, secrets *secretsmanager.Client) func(context.Context) (hook.Enroller, func(), error) {
	roots := x509.NewCertPool()
	for _, ca := range s.estCA {
		roots.AddCert(ca)
	}
	return func(ctx context.Context) (hook.Enroller, func(), error) {
		out, err := secrets.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: aws.String(s.secret)})
		if err != nil {
			return nil, nil, fmt.Errorf("reading secret %s: %w", s.secret, err)
		}
		certificate, err := parseSecret(aws.ToString(out.SecretString))
		if err != nil {
			return nil, nil, fmt.Errorf("secret %s: %w", s.secret, err)
		}
		client := &est.Client{URL: s.estURL, Label: s.estLabel, RootCAs: roots, Certificate: &certificate}
		return client, client.Close, nil
	}
}

// parseSecret reads key and certificate, with its chain, from one text in PEM. Its
// errors hold nothing of it.
func parseSecret(text string) (tls.Certificate, error) {
	if len(text) > maxSecret {
		return tls.Certificate{}, fmt.Errorf("it is %d bytes long, more than %d", len(text), maxSecret)
	}
	certificate, err := tls.X509KeyPair([]byte(text), []byte(text))
	if err != nil {
		return tls.Certificate{}, errors.New("it does not hold a certificate and its key in PEM")
	}
	return certificate, nil
}
