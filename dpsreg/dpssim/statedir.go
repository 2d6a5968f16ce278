package dpssim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
)

// withSecretsOf fills what the configuration leaves out with the secrets that an
// earlier run left in the state directory.
func withSecretsOf(cfg Config) (Config, error) {
	if cfg.ClientSecret == "" {
		secret, err := readSecret(filepath.Join(cfg.StateDir, "client-secret"))
		if err != nil {
			return cfg, err
		}
		cfg.ClientSecret = secret
	}
	cfg.Keys = maps.Clone(cfg.Keys)
	if cfg.Keys == nil {
		cfg.Keys = map[string]string{}
	}
	for _, policy := range []string{ownerPolicy, hubPolicy} {
		if cfg.Keys[policy] != "" {
			continue
		}
		key, err := readSecret(filepath.Join(cfg.StateDir, "keys", policy))
		if err != nil {
			return cfg, err
		}
		cfg.Keys[policy] = key
	}
	return cfg, nil
}

// readSecret reads a file of writeStateDir; "" if there is none.
func readSecret(name string) (string, error) {
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if len(b) > 4096 {
		return "", fmt.Errorf("%s is no secret of the simulator: it has %d bytes", name, len(b))
	}
	return strings.TrimSpace(string(b)), err
}

// writeStateDir writes what clients need: root.pem, azure.json, client-secret and
// keys/POLICY; and root.key for the next run.
func (s *Sim) writeStateDir() error {
	if s.cfg.StateDir == "" {
		return nil
	}
	dir, err := filepath.Abs(s.cfg.StateDir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(dir, "keys"), 0o700); err != nil {
		return err
	}
	keys := map[string]string{}
	for policy, key := range s.cfg.Keys {
		keys[policy] = filepath.Join(dir, "keys", policy)
		if err := writeFile(keys[policy], []byte(key+"\n"), 0o600); err != nil {
			return err
		}
	}
	secret := filepath.Join(dir, "client-secret")
	if err := writeFile(secret, []byte(s.cfg.ClientSecret+"\n"), 0o600); err != nil {
		return err
	}
	key, err := s.tls.root.keyPEM()
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(dir, rootKeyFile), key, 0o600); err != nil {
		return err
	}
	if err := writeFile(filepath.Join(dir, rootFile), s.tls.root.pem(), 0o644); err != nil {
		return err
	}
	b, err := json.MarshalIndent(struct {
		TenantID         string            `json:"tenantId"`
		ClientID         string            `json:"clientId"`
		ClientSecretFile string            `json:"clientSecretFile"`
		SubscriptionID   string            `json:"subscriptionId"`
		ResourceGroup    string            `json:"resourceGroup"`
		Service          string            `json:"service"`
		IDScope          string            `json:"idScope"`
		Hubs             []string          `json:"hubs"`
		HTTPS            string            `json:"https"`
		MQTT             string            `json:"mqtt"`
		Keys             map[string]string `json:"keys"`
	}{
		s.cfg.TenantID, s.cfg.ClientID, secret, s.cfg.SubscriptionID, s.cfg.ResourceGroup, s.cfg.Service, s.cfg.IDScope,
		s.cfg.Hubs, s.Addr(), s.MQTTAddr(), keys,
	}, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, "azure.json"), append(b, '\n'), 0o644)
}

// writeFile replaces a file as a whole: who waits for it never reads half of it.
func writeFile(name string, content []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Chmod(mode), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
