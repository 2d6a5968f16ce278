package adminhttp

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"net/http"
	"strings"
	"time"

	"mintmark/admin"
	"mintmark/internal/access"
	"mintmark/internal/ledger"
	"mintmark/issuer/inventory"
)

// The length of time for which a one-time secret is taken.
const (
	secretTTL    = 30 * 24 * time.Hour
	maxSecretTTL = 2 * 365 * 24 * time.Hour
)

func (h *handler) secretRoutes() []route {
	return []route{
		{"POST /v1/secrets", access.SecretChange, h.createSecrets},
		{"PUT /v1/secrets", access.SecretChange, h.importSecrets},
		{"DELETE /v1/devices/{id}/secret", access.SecretChange, h.dropSecret},
	}
}

// createSecrets makes secrets of 130 bits. The answer is the only place where
// they stand.
func (h *handler) createSecrets(w http.ResponseWriter, r *http.Request) error {
	var in admin.SecretSpec
	if err := decode(r, &in); err != nil {
		return err
	}
	out := admin.SecretsMade{Secrets: make([]admin.DeviceSecret, 0, len(in.Devices))}
	for _, device := range in.Devices {
		out.Secrets = append(out.Secrets, admin.DeviceSecret{Device: device, Secret: rand.Text()})
	}
	expires, err := h.putSecrets(r, out.Secrets, in.TTLSeconds)
	if err != nil {
		return err
	}
	out.ExpiresAt = expires
	return writeJSON(w, http.StatusCreated, out)
}

func (h *handler) importSecrets(w http.ResponseWriter, r *http.Request) error {
	var in admin.SecretImport
	if err := decode(r, &in); err != nil {
		return err
	}
	expires, err := h.putSecrets(r, in.Secrets, in.TTLSeconds)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, admin.SecretsRecorded{Devices: len(in.Secrets), ExpiresAt: expires})
}

// putSecrets checks and records secrets, all or none. No error and no log line
// holds one.
func (h *handler) putSecrets(r *http.Request, secrets []admin.DeviceSecret, seconds int64) (time.Time, error) {
	bad := func(format string, args ...any) (time.Time, error) {
		return time.Time{}, fail(http.StatusBadRequest, "secret", format, args...)
	}
	ttl := secretTTL
	switch {
	case seconds < 0, seconds > 0 && seconds < 60, seconds > int64(maxSecretTTL/time.Second):
		return bad("a one-time secret is taken for a minute to %d days, and not %d seconds", maxSecretTTL/(24*time.Hour), seconds)
	case seconds > 0:
		ttl = time.Duration(seconds) * time.Second
	}
	if len(secrets) == 0 || len(secrets) > admin.MaxSecrets {
		return bad("there are %d devices; a request takes 1 to %d", len(secrets), admin.MaxSecrets)
	}
	now := h.RA.Now()
	records := make([]ledger.DeviceSecret, len(secrets))
	devices, sums := make(map[string]bool, len(secrets)), make(map[[32]byte]string, len(secrets))
	for i, one := range secrets {
		sum := sha256.Sum256([]byte(one.Secret))
		switch {
		case strings.Contains(one.Device, ":"):
			// RFC 7617, Section 2.
			return bad("device %q has a colon in its identifier, and the user of HTTP Basic cannot: it needs another credential", shorten(one.Device))
		case devices[one.Device]:
			return bad("device %q is there twice", one.Device)
		case sums[sum] != "":
			return bad("devices %q and %q have the same secret: one for all is no one's", sums[sum], one.Device)
		}
		if err := inventory.CheckDevice(one.Device); err != nil {
			return bad("device %q: the identifier %v", shorten(one.Device), err)
		}
		if err := admin.CheckSecret(one.Secret); err != nil {
			return bad("device %q: the secret %v", one.Device, err)
		}
		devices[one.Device], sums[sum] = true, one.Device
		records[i] = ledger.DeviceSecret{Device: one.Device, SHA256: sum, At: now, Actor: actor(r), ExpiresAt: now.Add(ttl)}
	}
	if err := h.Ledger.PutSecrets(r.Context(), records); err != nil {
		return time.Time{}, err
	}
	h.Logger.Info("one-time secrets recorded", "devices", len(records), "first", records[0].Device, "expires", now.Add(ttl), "actor", actor(r))
	return now.Add(ttl).UTC(), nil
}

func (h *handler) dropSecret(w http.ResponseWriter, r *http.Request) error {
	id, err := deviceID(r)
	if err != nil {
		return err
	}
	err = h.Ledger.DropSecret(r.Context(), id, actor(r), h.RA.Now())
	if errors.Is(err, ledger.ErrNotFound) {
		return fail(http.StatusNotFound, "not-found", "device %q has no one-time secret", shorten(id))
	}
	if err != nil {
		return err
	}
	h.Logger.Info("one-time secret dropped", "device", id, "actor", actor(r))
	return writeJSON(w, http.StatusOK, struct{}{})
}

// secretState says of a device whether it has a one-time secret.
func (h *handler) secretState(r *http.Request, id string) (*admin.SecretState, error) {
	s, err := h.Ledger.DeviceSecret(r.Context(), id)
	if errors.Is(err, ledger.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &admin.SecretState{At: s.At.UTC(), Actor: s.Actor, ExpiresAt: s.ExpiresAt.UTC(), Serial: string(s.Serial)}, nil
}
