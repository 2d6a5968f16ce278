package keystore

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// Keys in Azure Key Vault, as its documentation describes it, by the real SDK. It reads
// trust anchors and proxies from the environment, once in a process: this test runs
// itself in another one, for which the names of Azure lead to the double.
func TestAzureKMS(t *testing.T) {
	if os.Getenv("MINTMARK_TEST_AZURE") == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestAzureKMS$", "-test.v")
		cmd.Env = append(azureWorld(t), "MINTMARK_TEST_AZURE=1")
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "--- PASS: TestAzureKMS") {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	s := open(t, Config{})
	for _, alg := range []string{"P-256", "P-384", "RSA-2048"} {
		uri, signer, err := s.Create(background, "azurekms:vault=factory-vault;name=key-"+alg, alg)
		if err != nil {
			t.Fatal(err)
		}
		if prefix := "azurekms:name=key-" + alg + ";vault=factory-vault?version="; !strings.HasPrefix(uri, prefix) || len(uri) != len(prefix)+32 || kindOf(signer.Public()) != alg {
			t.Errorf("%s is a %s", uri, kindOf(signer.Public()))
		}
		opened, err := s.Signer(background, uri, signer.Public())
		if err != nil {
			t.Fatal(err)
		}
		if err := testSign(opened); err != nil {
			t.Errorf("%s: %v", alg, err)
		}
		if _, _, err := s.Create(background, "azurekms:vault=factory-vault;name=key-"+alg, alg); !errors.Is(err, ErrExists) {
			t.Errorf("making it again: %v", err)
		}
		var wait interface{ RetryAfter() time.Duration }
		if err := s.Destroy(background, uri, signer.Public()); err == nil || !strings.Contains(err.Error(), "az keyvault key delete") || errors.As(err, &wait) {
			t.Errorf("destroying: %v", err)
		}
	}
	if _, err := s.Signer(background, "azurekms:vault=factory-vault;name=none?version="+vouch, nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("a key that is not there: %v", err)
	}
	_, err := s.Signer(background, "azurekms:vault=factory-vault;name=forbidden?version="+vouch, nil)
	if err == nil || !strings.Contains(err.Error(), "Azure Key Vault answers 403 Forbidden") || strings.Contains(err.Error(), "\n") {
		t.Errorf("a key that is forbidden: %v", err)
	}
	if _, _, err := s.Create(background, "azurekms:vault=factory-vault;name=throttled", "P-256"); err != nil {
		t.Errorf("a vault that is busy once: %v", err)
	}
	t.Setenv("AZURE_CLIENT_SECRET", "another secret")
	_, err = open(t, Config{}).Signer(background, "azurekms:vault=factory-vault;name=none?version="+vouch, nil)
	if err == nil || errors.Is(err, ErrNotFound) || strings.Contains(err.Error(), "another secret") || strings.Contains(err.Error(), azureSecret) {
		t.Errorf("credentials that are wrong: %v", err)
	}
}
