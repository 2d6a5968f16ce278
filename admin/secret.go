package admin

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// The bounds of one-time secrets.
const (
	// MaxSecrets is how many one request may make or record.
	MaxSecrets = 1000
	// MinSecret is how many characters one that was made elsewhere must have.
	MinSecret = 16
	// MaxSecret is how many it may have.
	MaxSecret = 256
	// MaxSecretRows bounds a file of them.
	MaxSecretRows = 1_000_000
)

// SecretState says of a device whether it has a one-time secret, and whether
// that was used.
type SecretState struct {
	At        time.Time `json:"at"`
	Actor     string    `json:"actor"`
	ExpiresAt time.Time `json:"expires_at"`
	// Serial is the certificate that it was used for; empty while it was not.
	Serial string `json:"used_for,omitempty"`
}

// DeviceSecret is the one-time secret of a device. It stands in requests and
// answers and nowhere else: the ledger keeps its SHA-256.
type DeviceSecret struct {
	Device string `json:"device"`
	Secret string `json:"secret"`
}

// SecretSpec asks for new one-time secrets.
type SecretSpec struct {
	Devices []string `json:"devices"` // at most MaxSecrets
	// TTLSeconds is how long they are taken; 30 days if zero.
	TTLSeconds int64 `json:"ttl_seconds,omitempty"`
}

// SecretImport records one-time secrets that were made elsewhere.
type SecretImport struct {
	Secrets    []DeviceSecret `json:"secrets"` // at most MaxSecrets
	TTLSeconds int64          `json:"ttl_seconds,omitempty"`
}

// SecretsMade are one-time secrets, this once.
type SecretsMade struct {
	Secrets   []DeviceSecret `json:"secrets"`
	ExpiresAt time.Time      `json:"expires_at"`
}

// SecretsRecorded says how many were recorded.
type SecretsRecorded struct {
	Devices   int       `json:"devices"`
	ExpiresAt time.Time `json:"expires_at"`
}

// CreateSecrets makes a one-time secret for each of the devices, in place of
// those that they had: for all of them or for none.
func (c *Client) CreateSecrets(ctx context.Context, spec SecretSpec) (SecretsMade, error) {
	return call[SecretsMade](ctx, c, http.MethodPost, "/v1/secrets", nil, spec)
}

// ImportSecrets records one-time secrets, all or none.
func (c *Client) ImportSecrets(ctx context.Context, in SecretImport) (SecretsRecorded, error) {
	return call[SecretsRecorded](ctx, c, http.MethodPut, "/v1/secrets", nil, in)
}

// DropSecret takes the one-time secret of a device away.
func (c *Client) DropSecret(ctx context.Context, device string) error {
	_, err := call[struct{}](ctx, c, http.MethodDelete, devicePath(device)+"/secret", nil, nil)
	return err
}

// ReadSecrets reads a CSV file with the header device,secret; the separator may
// be a semicolon or a tab, as spreadsheets write it. Errors name the line and
// never hold a secret.
func ReadSecrets(r io.Reader) ([]DeviceSecret, error) {
	in := bufio.NewReader(r)
	if mark, _ := in.Peek(3); string(mark) == "\xef\xbb\xbf" {
		in.Discard(3)
	}
	rows := csv.NewReader(in)
	if head, _ := in.Peek(7); len(head) == 7 && (head[6] == ';' || head[6] == '\t') {
		rows.Comma = rune(head[6])
	}
	rows.FieldsPerRecord = 2
	rows.ReuseRecord = true
	header, err := rows.Read()
	switch {
	case errors.Is(err, io.EOF):
		return nil, errors.New("the file is empty: its first line must be device,secret")
	case err != nil || header[0] != "device" || header[1] != "secret":
		return nil, errors.New("the first line must be device,secret, and each row one device with its secret")
	}
	var list []DeviceSecret
	devices, secrets := make(map[string]int), make(map[[32]byte]int)
	for {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		var syntax *csv.ParseError
		if errors.As(err, &syntax) {
			return nil, fmt.Errorf("line %d: %w", syntax.Line, syntax.Err)
		}
		if err != nil {
			return nil, err
		}
		line, _ := rows.FieldPos(0)
		switch {
		case row[0] == "":
			return nil, fmt.Errorf("line %d: device is missing", line)
		case devices[row[0]] != 0:
			return nil, fmt.Errorf("line %d: device %q is in line %d already", line, row[0], devices[row[0]])
		}
		sum := sha256.Sum256([]byte(row[1]))
		if err := CheckSecret(row[1]); err != nil {
			return nil, fmt.Errorf("line %d: device %q: the secret %w", line, row[0], err)
		}
		if secrets[sum] != 0 {
			return nil, fmt.Errorf("line %d: device %q: its secret is that of line %d, and one for all is no one's", line, row[0], secrets[sum])
		}
		if len(list) == MaxSecretRows {
			return nil, fmt.Errorf("line %d: a file has at most %d rows: split it", line, MaxSecretRows)
		}
		devices[row[0]], secrets[sum] = line, line
		list = append(list, DeviceSecret{Device: row[0], Secret: row[1]})
	}
	if len(list) == 0 {
		return nil, errors.New("the file has no row: there is nothing to record")
	}
	return list, nil
}

// CheckSecret says why a text cannot be a one-time secret, or nil. It is sent
// as a password of HTTP Basic, whose charset is anybody's guess beyond ASCII
// (RFC 7617, Section 2.1). The error does not hold it.
func CheckSecret(secret string) error {
	switch {
	case len(secret) < MinSecret:
		return fmt.Errorf("has %d characters; it takes %d at least", len(secret), MinSecret)
	case len(secret) > MaxSecret:
		return fmt.Errorf("has %d characters; %d are allowed", len(secret), MaxSecret)
	}
	kinds := make(map[byte]bool)
	for _, b := range []byte(secret) {
		if b <= ' ' || b > '~' {
			return errors.New("holds a character that is not printable ASCII, or a blank")
		}
		kinds[b] = true
	}
	if len(kinds) < MinSecret/2 {
		return fmt.Errorf("has %d different characters only: it can be guessed", len(kinds))
	}
	return nil
}
