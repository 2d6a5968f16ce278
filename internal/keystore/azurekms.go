package keystore

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"net/http"

	"mintmark/internal/pattern"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"go.step.sm/crypto/kms/apiv1"
	"go.step.sm/crypto/kms/azurekms"
)

// The names that Azure Key Vault has. A vault's becomes a host name, to which a token
// is sent: nothing else may.
var (
	azureVault       = pattern.New(`^[A-Za-z][A-Za-z0-9-]{1,22}[A-Za-z0-9]$`)
	azureName        = pattern.New(`^[A-Za-z0-9-]{1,127}$`)
	azureVersion     = pattern.New(`^[0-9a-f]{32}$`)
	azureTenant      = pattern.New(`^[A-Za-z0-9.-]{1,253}$`)
	azureEnvironment = pattern.New(`(?i)^(public|usgov|china)?$`)
)

// azureKey is a key in an Azure Key Vault.
type azureKey struct {
	vault, name, version string
	environment, tenant  string
	software             bool // hsm=false: a key of a vault of the tier Standard
}

// azureKeyOf reads azurekms:vault=...;name=...;environment=...;tenant-id=...?version=...
func azureKeyOf(u *keyURI, creating bool) (external, error) {
	known := []string{"vault", "name", "environment", "tenant-id", "version"}
	if creating {
		known[4] = "hsm"
	}
	a, err := u.attributes("", known...)
	if err != nil {
		return nil, err
	}
	k := &azureKey{vault: a["vault"], name: a["name"], version: a["version"], environment: a["environment"], tenant: a["tenant-id"], software: a["hsm"] == "false"}
	switch {
	case !azureVault.MatchString(k.vault) || !azureName.MatchString(k.name):
		return nil, errors.New("the URI names no key: write azurekms:vault=factory-vault;name=issuing, with letters, digits and - in the names")
	case k.tenant != "" && !azureTenant.MatchString(k.tenant):
		return nil, fmt.Errorf("%q is no tenant-id", short(k.tenant))
	case !azureEnvironment.MatchString(k.environment):
		return nil, fmt.Errorf("unknown environment %q: known are public, usgov and china", short(k.environment))
	case creating && a["hsm"] != "" && a["hsm"] != "true" && a["hsm"] != "false":
		return nil, errors.New("hsm= is true or false")
	case !creating && !azureVersion.MatchString(k.version):
		return nil, errors.New("the URI names no version of the key: add ?version=, 32 hexadecimal digits; the vault would sign with whatever is the newest one")
	}
	return k, nil
}

func (k *azureKey) device() (string, int) {
	return schemeAzure + ":" + k.environment + ":" + k.vault + ":" + k.name, cloudPlaces
}

func (k *azureKey) algorithms() []string { return algorithms }

// manager reads the SDK's own credentials: environment, workload or managed identity,
// Azure CLI. What fails for the lack of them fails at the first call.
func (k *azureKey) manager(ctx context.Context) (*azurekms.KeyVault, error) {
	options := kmsURI(schemeAzure, map[string]string{"vault": k.vault, "environment": k.environment, "tenant-id": k.tenant}, nil)
	m, err := azurekms.New(ctx, apiv1.Options{URI: options})
	if err != nil {
		return nil, fmt.Errorf("loading the Azure credentials: %w", err)
	}
	return m, nil
}

// create makes a key that signs and verifies only, in the vault's HSM unless the URI
// says hsm=false. Where there is one of the name, the vault would make a new version
// of it.
func (k *azureKey) create(ctx context.Context, alg string) (string, error) {
	m, err := k.manager(ctx)
	if err != nil {
		return "", err
	}
	switch _, err := m.GetPublicKey(&apiv1.GetPublicKeyRequest{Name: k.request()}); {
	case err == nil:
		return "", fmt.Errorf("%w: %s in vault %s", ErrExists, k.name, k.vault)
	case !azureNotFound(err):
		return "", azureError("reading the key", err)
	}
	signature, bits := signatureAlgorithm(alg)
	protection := apiv1.HSM
	if k.software {
		protection = apiv1.Software
	}
	made, err := m.CreateKey(&apiv1.CreateKeyRequest{Name: k.request(), SignatureAlgorithm: signature, Bits: bits, ProtectionLevel: protection})
	if err != nil {
		return "", azureError("making the key", err)
	}
	u, err := parseURI(made.Name)
	if err != nil {
		return "", err
	}
	return kmsURI(schemeAzure,
		map[string]string{"vault": k.vault, "name": k.name, "environment": k.environment, "tenant-id": k.tenant},
		map[string]string{"version": u.Get("version")}), nil
}

func (k *azureKey) open(ctx context.Context) (crypto.Signer, error) {
	m, err := k.manager(ctx)
	if err != nil {
		return nil, err
	}
	signer, err := m.CreateSigner(&apiv1.CreateSignerRequest{SigningKey: k.request()})
	switch {
	case err != nil && azureNotFound(err):
		return nil, fmt.Errorf("%w: %s in vault %s", ErrNotFound, k.name, k.vault)
	case err != nil:
		return nil, azureError("reading the key", err)
	}
	return azureSigner{signer}, nil
}

func (k *azureKey) destroy(context.Context, crypto.PublicKey) error {
	return never("a key in Azure Key Vault is destroyed there, and recoverable until it is purged: az keyvault key delete --vault-name %s --name %s", k.vault, k.name)
}

func (k *azureKey) request() string {
	return kmsURI(schemeAzure, map[string]string{"vault": k.vault, "name": k.name}, map[string]string{"version": k.version})
}

// azureSigner shortens the errors of the library.
type azureSigner struct{ crypto.Signer }

func (s azureSigner) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	signature, err := s.Signer.Sign(random, digest, opts)
	if err != nil {
		return nil, azureError("signing", err)
	}
	return signature, nil
}

func azureNotFound(err error) bool {
	var answer *azcore.ResponseError
	return errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound
}

// azureError says what the vault answered. The SDK's text is the whole answer, many
// lines of it.
func azureError(doing string, err error) error {
	var answer *azcore.ResponseError
	if errors.As(err, &answer) {
		return fmt.Errorf("%s: Azure Key Vault answers %d %s", doing, answer.StatusCode, answer.ErrorCode)
	}
	return fmt.Errorf("%s: %w", doing, err)
}
