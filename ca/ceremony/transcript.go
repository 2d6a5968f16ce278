package ceremony

import (
	"bytes"
	"crypto/fips140"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"time"

	"mintmark/ca"
)

// Names in the folder of a ceremony.
const (
	fileYAML       = "ceremony.yaml"
	fileStatement  = "statement.txt"
	fileStatementS = "statement.sig"
	fileJournal    = "journal.ndjson"
	fileTranscript = "transcript.json"
	fileSignatures = "transcript.sig"
	folderInputs   = "inputs/"
	folderOutputs  = "outputs/"
)

// Transcript is what was done.
type Transcript struct {
	Version   int       `json:"version"` // of the format: 1
	Name      string    `json:"name"`
	Purpose   string    `json:"purpose"`
	File      Item      `json:"file"`
	Begun     time.Time `json:"begun"`
	Ended     time.Time `json:"ended"`
	Program   Program   `json:"program"`
	Network   Network   `json:"network"`
	Threshold int       `json:"threshold"`
	Officers  []Present `json:"officers"`
	Records   []Item    `json:"records"`
	Inputs    []Item    `json:"inputs"`
	Steps     []Done    `json:"steps"`
}

// Item is a file of the folder.
type Item struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"`
	Size   int    `json:"size"`
}

func itemOf(name string, data []byte) Item {
	return Item{Name: name, SHA256: hexHash(data), Size: len(data)}
}

// Program is what carried the ceremony out.
type Program struct {
	Version  string `json:"version"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
	// FIPS says whether the Go Cryptographic Module ran in FIPS 140-3 mode, and
	// FIPSModule which version of it.
	FIPS       bool   `json:"fips"`
	FIPSModule string `json:"fips_module"`
}

func program(version string) Program {
	return Program{
		Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
		FIPS: fips140.Enabled(), FIPSModule: fips140.Version(),
	}
}

// Network is what of a network the machine had.
type Network struct {
	Allowed    bool     `json:"allowed"`
	Interfaces []string `json:"interfaces"`
}

// Present is an officer who was present.
type Present struct {
	Name string `json:"name"`
	Key  string `json:"key"` // SHA-256 of the SubjectPublicKeyInfo
}

// Done is a step that was carried out.
type Done struct {
	Step string    `json:"step"`
	Kind string    `json:"kind"`
	At   time.Time `json:"at"`
	// Signer is the key that signed, Key the one that was made, certified or destroyed.
	Signer *Key `json:"signer,omitempty"`
	Key    *Key `json:"key,omitempty"`

	Issuer     string    `json:"issuer,omitempty"`
	Subject    string    `json:"subject,omitempty"`
	Serial     string    `json:"serial,omitempty"`
	KeyID      string    `json:"key_id,omitempty"`
	From       time.Time `json:"from,omitzero"`
	Until      time.Time `json:"until,omitzero"`
	PathLength *int      `json:"path_length,omitempty"`

	Number     int64     `json:"number,omitempty"`
	ThisUpdate time.Time `json:"this_update,omitzero"`
	NextUpdate time.Time `json:"next_update,omitzero"`
	Entries    int       `json:"entries,omitempty"`

	TBS     string `json:"tbs_sha256,omitempty"` // SHA-256 of what was signed
	SHA256  string `json:"sha256,omitempty"`     // of the DER of the certificate or CRL: its fingerprint
	Outputs []Item `json:"outputs,omitempty"`
}

// Key is a private key, by what can be said of it.
type Key struct {
	URI        string            `json:"uri,omitempty"` // without a PIN
	Algorithm  string            `json:"algorithm"`
	SHA256     string            `json:"sha256,omitempty"` // of its SubjectPublicKeyInfo
	Attributes map[string]string `json:"attributes,omitempty"`
}

func keyOf(public any, uri string) (*Key, error) {
	algorithm, err := ca.AlgorithmOf(public)
	if err != nil {
		return nil, err
	}
	hash, err := keyHash(public)
	if err != nil {
		return nil, err
	}
	return &Key{URI: redact(uri), Algorithm: string(algorithm), SHA256: hash}, nil
}

// doneCertificate says of a step that it made cert. The signer is left to the caller.
func doneCertificate(s *Step, cert *x509.Certificate, outputs []Item) (*Done, error) {
	key, err := keyOf(cert.PublicKey, "")
	if err != nil {
		return nil, err
	}
	d := &Done{
		Step: s.Name, Kind: s.Kind(), Key: key,
		Issuer: cert.Issuer.String(), Subject: cert.Subject.String(), Serial: fmt.Sprintf("%x", cert.SerialNumber),
		KeyID: fmt.Sprintf("%x", cert.SubjectKeyId), From: cert.NotBefore.UTC(), Until: cert.NotAfter.UTC(),
		TBS: hexHash(cert.RawTBSCertificate), SHA256: hexHash(cert.Raw), Outputs: outputs,
	}
	if n, ok := pathLength(cert); ok {
		d.PathLength = &n
	}
	return d, nil
}

// doneCRL says of a step that it made a CRL.
func doneCRL(s *Step, l *x509.RevocationList, outputs []Item) *Done {
	return &Done{
		Step: s.Name, Kind: s.Kind(), Issuer: l.Issuer.String(), Number: s.CRL.Number,
		ThisUpdate: l.ThisUpdate.UTC(), NextUpdate: l.NextUpdate.UTC(), Entries: len(l.RevokedCertificateEntries),
		TBS: hexHash(l.RawTBSRevocationList), SHA256: hexHash(l.Raw), Outputs: outputs,
	}
}

// encode writes a record of the folder in its only form.
func encode(v any) ([]byte, error) {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding a record: %w", err)
	}
	return append(data, '\n'), nil
}

// decode reads what encode wrote, and refuses every other spelling of it.
func decode(data []byte, v any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(v); err != nil {
		return fmt.Errorf("decoding: %w", err)
	}
	again, err := encode(v)
	if err != nil {
		return err
	}
	if !bytes.Equal(again, data) {
		return errors.New("it is not spelt as this program writes it")
	}
	return nil
}
