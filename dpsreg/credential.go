package dpsreg

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	azlog "github.com/Azure/azure-sdk-for-go/sdk/azcore/log"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"mintmark/dpsreg/rest"
)

// silence keeps the SDK from writing to standard error, where AZURE_SDK_GO_LOGGING
// would have it log. Setting the listener is not safe beside calls.
var silence = sync.OnceFunc(func() { azlog.SetListener(nil) })

// sdkOptions are those of everything of the SDK: no retries but ours, nothing told
// about this machine.
func sdkOptions(client *http.Client) policy.ClientOptions {
	return policy.ClientOptions{
		Cloud:     cloud.AzurePublic,
		Transport: whole{client},
		Retry:     policy.RetryOptions{MaxRetries: -1},
		Telemetry: policy.TelemetryOptions{Disabled: true},
	}
}

// credential makes the credential of an identity. It reads its secret and makes no
// call.
func (i Identity) credential(client *http.Client, connect Connect, secret func(string) ([]byte, error)) (azcore.TokenCredential, error) {
	options := sdkOptions(client)
	// Whether an authority is Microsoft's is asked at login.microsoft.com, which is not
	// among the hosts that Connect stands for, and AzurePublic is known to be.
	noDiscovery := connect.Address != ""
	switch {
	case i.SecretFile != "" && i.CertificateFile != "":
		return nil, errors.New("identity: a secret file and a certificate file exclude each other")
	case i.SecretFile != "" || i.CertificateFile != "":
		if i.TenantID == "" || i.ClientID == "" {
			return nil, errors.New("identity: a secret or certificate file needs tenant and client id")
		}
	case i.ClientID != "":
		return nil, errors.New("identity: a client id needs a secret or certificate file; AZURE_CLIENT_ID in the environment chooses a managed identity")
	}
	switch {
	case i.SecretFile != "":
		value, err := readSecret(secret, i.SecretFile)
		if err != nil {
			return nil, err
		}
		return azidentity.NewClientSecretCredential(i.TenantID, i.ClientID, value, &azidentity.ClientSecretCredentialOptions{
			ClientOptions: options, DisableInstanceDiscovery: noDiscovery,
		})
	case i.CertificateFile != "":
		data, err := secret(i.CertificateFile)
		if err != nil {
			return nil, fmt.Errorf("identity: %w", err)
		}
		certificates, key, err := azidentity.ParseCertificates(data, nil)
		if err != nil {
			return nil, fmt.Errorf("identity: %s does not hold a certificate and its key in PEM: %w", i.CertificateFile, err)
		}
		return azidentity.NewClientCertificateCredential(i.TenantID, i.ClientID, certificates, key, &azidentity.ClientCertificateCredentialOptions{
			ClientOptions: options, DisableInstanceDiscovery: noDiscovery,
		})
	}
	// The chain asks endpoints that may be slow to start, with retries of its own.
	options.Retry = policy.RetryOptions{}
	return azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{
		ClientOptions: options, TenantID: i.TenantID, DisableInstanceDiscovery: noDiscovery,
	})
}

// readSecret reads a file of one line.
func readSecret(secret func(string) ([]byte, error), path string) (string, error) {
	data, err := secret(path)
	if err != nil {
		return "", err
	}
	data = bytes.TrimSpace(data)
	if len(data) == 0 {
		return "", fmt.Errorf("%s is empty", path)
	}
	return string(data), nil
}

// authorization is by policy, or else by token.
func authorization(host string, sas *SAS, credential azcore.TokenCredential, scope string, secret func(string) ([]byte, error), now func() time.Time) (rest.Authorization, error) {
	if sas == nil {
		return rest.Entra{Credential: credential, Scope: scope}, nil
	}
	key, err := readSecret(secret, sas.KeyFile)
	if err != nil {
		return nil, err
	}
	return rest.NewSAS(host, sas.Policy, key, now)
}
