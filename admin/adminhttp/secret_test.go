package adminhttp_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mintmark/admin"
	"mintmark/admin/adminhttp"
)

func TestSecrets(t *testing.T) {
	var log bytes.Buffer
	w := open(t, func(c *adminhttp.Config) {
		c.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}).hierarchy(t)
	w.list(t, "device\npress-1\npress-2\npress-3\n", csvList)
	made, err := w.client.CreateSecrets(t.Context(), admin.SecretSpec{Devices: []string{"press-1", "press-2"}, TTLSeconds: 3600})
	if err != nil || len(made.Secrets) != 2 || made.Secrets[1].Device != "press-2" || made.Secrets[0].Secret == made.Secrets[1].Secret {
		t.Fatalf("made %+v, %v", made, err)
	}
	recorded, err := w.client.ImportSecrets(t.Context(), admin.SecretImport{Secrets: []admin.DeviceSecret{{Device: "press-3", Secret: "QJ7K2M4N6P8R3T5V"}}})
	if err != nil || recorded.Devices != 1 || recorded.ExpiresAt.Sub(w.ra.Now()).Round(time.Hour) != 30*24*time.Hour {
		t.Errorf("recorded %+v, %v", recorded, err)
	}
	for _, one := range append(made.Secrets, admin.DeviceSecret{Device: "press-3", Secret: "QJ7K2M4N6P8R3T5V"}) {
		if len(one.Secret) < 16 {
			t.Errorf("the secret of %s has %d characters", one.Device, len(one.Secret))
		}
		s, err := w.ra.Ledger.DeviceSecret(t.Context(), one.Device)
		if err != nil || s.SHA256 != sha256.Sum256([]byte(one.Secret)) || s.Actor != "local:tester" {
			t.Errorf("recorded is %+v, %v", s, err)
		}
		d, err := w.client.Device(t.Context(), one.Device)
		if err != nil || d.Secret == nil || d.Secret.Serial != "" || d.Secret.Actor != "local:tester" || d.Secret.ExpiresAt.Before(w.ra.Now()) {
			t.Errorf("%s is %+v, %v", one.Device, d.Secret, err)
		}
		// Neither the log of the server nor the issuance log nor the database
		// has it.
		if strings.Contains(log.String(), one.Secret) {
			t.Errorf("the log has the secret of %s", one.Device)
		}
		w.nowhere(t, one.Secret)
	}
	// A new one takes the place of the old one; a dropped one is gone.
	again, err := w.client.CreateSecrets(t.Context(), admin.SecretSpec{Devices: []string{"press-1"}})
	if err != nil {
		t.Fatal(err)
	}
	if s, err := w.ra.Ledger.DeviceSecret(t.Context(), "press-1"); err != nil || s.SHA256 != sha256.Sum256([]byte(again.Secrets[0].Secret)) {
		t.Errorf("press-1 has %+v, %v", s, err)
	}
	if err := w.client.DropSecret(t.Context(), "press-1"); err != nil {
		t.Fatal(err)
	}
	if d, err := w.client.Device(t.Context(), "press-1"); err != nil || d.Secret != nil {
		t.Errorf("press-1 is %+v, %v", d, err)
	}
	refused(t, w.client.DropSecret(t.Context(), "press-1"), http.StatusNotFound, "not-found")
}

// nowhere fails if any file of the world holds the text.
func (w *world) nowhere(t *testing.T, text string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(w.dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		files++
		content, err := os.ReadFile(path)
		if bytes.Contains(content, []byte(text)) {
			t.Errorf("%s holds %q", path, text)
		}
		return err
	})
	if err != nil || files < 2 {
		t.Errorf("looked at %d files, %v", files, err)
	}
}

func TestSecretsRefused(t *testing.T) {
	var log bytes.Buffer
	w := open(t, func(c *adminhttp.Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	const good = "QJ7K2M4N6P8R3T5V"
	many := make([]string, admin.MaxSecrets+1)
	for i := range many {
		many[i] = fmt.Sprintf("press-%d", i)
	}
	for _, spec := range []admin.SecretSpec{
		{}, {Devices: many}, {Devices: []string{"press-1", "press-1"}}, {Devices: []string{"a b"}}, {Devices: []string{"00:1b:44:11:3a:b7"}}, {Devices: []string{""}},
		{Devices: []string{"press-1"}, TTLSeconds: 1}, {Devices: []string{"press-1"}, TTLSeconds: -60}, {Devices: []string{"press-1"}, TTLSeconds: 1 << 40},
	} {
		_, err := w.client.CreateSecrets(t.Context(), spec)
		refused(t, err, http.StatusBadRequest, "secret")
	}
	for _, secrets := range [][]admin.DeviceSecret{
		{{Device: "press-1", Secret: "SHORT"}}, {{Device: "press-1", Secret: good + " "}}, {{Device: "press-1", Secret: strings.Repeat("A", 16)}},
		{{Device: "press-1", Secret: good}, {Device: "press-2", Secret: good}}, {{Device: "press-1", Secret: good + "\u00e4"}},
		{{Device: "press-1", Secret: good}, {Device: "press-2", Secret: ""}},
	} {
		_, err := w.client.ImportSecrets(t.Context(), admin.SecretImport{Secrets: secrets})
		refused(t, err, http.StatusBadRequest, "secret")
		if strings.Contains(err.Error(), good) {
			t.Errorf("the refusal holds the secret: %v", err)
		}
		// All or none.
		if _, err := w.ra.Ledger.DeviceSecret(t.Context(), "press-1"); err == nil {
			t.Fatal("press-1 has a secret")
		}
	}
	if strings.Contains(log.String(), good) || log.Len() == 0 {
		t.Errorf("the log is:\n%s", &log)
	}
}
