package awsreg

import (
	"context"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"

	"mintmark/internal/reconcile"
)

// takesOver is what an administrator must know before a certificate provider is
// made.
const takesOver = "it takes over every CreateCertificateFromCsr of the account and region, by whomever it is called, over the API and over MQTT: " +
	"AWS issues no certificate for a request any more, and while the function fails nobody gets one"

// providerResource is the account's certificate provider. There is one an
// account and region, so that another of another name is a refusal: it is
// somebody's.
// https://docs.aws.amazon.com/iot/latest/developerguide/provisioning-cert-provider.html
func providerResource(api providerAPI, p Provider) resource {
	operations := []types.CertificateProviderOperation{types.CertificateProviderOperationCreateCertificateFromCsr}
	name := p.name()
	examine := func(ctx context.Context) (reconcile.Change, action, error) {
		change := reconcile.Change{Kind: kindProvider, Subject: name, After: providerText(p.Function, operations)}
		have, err := api.DescribeCertificateProvider(ctx, &iot.DescribeCertificateProviderInput{CertificateProviderName: aws.String(name)})
		if code(err) == codeNotFound {
			other, err := otherProvider(ctx, api, name)
			if err != nil {
				return change, nil, err
			}
			if other != "" {
				change.Action = reconcile.Refuse
				change.After = fmt.Sprintf("the account has the certificate provider %q in this region, and AWS has one only: name that one in the configuration to take it over, or have it deleted", other)
				return change, nil, nil
			}
			change.Action = reconcile.Create
			change.After += "; " + takesOver
			return change, func(ctx context.Context) error {
				_, err := api.CreateCertificateProvider(ctx, &iot.CreateCertificateProviderInput{
					CertificateProviderName: aws.String(name), LambdaFunctionArn: aws.String(p.Function), AccountDefaultForOperations: operations,
				})
				if code(err) == codeExists { // made by a call whose answer was lost
					return nil
				}
				return explain(fmt.Sprintf("creating certificate provider %q", name), err)
			}, nil
		}
		if err != nil {
			return change, nil, explain(fmt.Sprintf("reading certificate provider %q", name), err)
		}
		change.Before = providerText(aws.ToString(have.LambdaFunctionArn), have.AccountDefaultForOperations)
		if change.Before == change.After {
			change.Action = reconcile.None
			return change, nil, nil
		}
		change.Action = reconcile.Update
		change.After += "; " + takesOver
		return change, func(ctx context.Context) error {
			_, err := api.UpdateCertificateProvider(ctx, &iot.UpdateCertificateProviderInput{
				CertificateProviderName: aws.String(name), LambdaFunctionArn: aws.String(p.Function), AccountDefaultForOperations: operations,
			})
			return explain(fmt.Sprintf("updating certificate provider %q", name), err)
		}, nil
	}
	return resource{examine: examine}
}

func providerText(function string, operations []types.CertificateProviderOperation) string {
	text := "function " + function
	sorted := slices.Sorted(slices.Values(operations))
	for _, o := range sorted {
		text += ", for " + string(o)
	}
	return text
}

// otherProvider is the name of a certificate provider that is not the given one.
func otherProvider(ctx context.Context, api providerAPI, name string) (string, error) {
	var next *string
	for range maxPages {
		page, err := api.ListCertificateProviders(ctx, &iot.ListCertificateProvidersInput{NextToken: next})
		if err != nil {
			return "", explain("listing certificate providers", err)
		}
		for _, p := range page.CertificateProviders {
			if got := aws.ToString(p.CertificateProviderName); got != name {
				return got, nil
			}
		}
		if next = page.NextToken; aws.ToString(next) == "" {
			return "", nil
		}
	}
	return "", errTooManyPages
}
