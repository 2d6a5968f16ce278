package kit

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// connection is connection.json.
type connection struct {
	Device        string    `json:"device"`
	Thing         string    `json:"thing"`
	ClientID      string    `json:"client_id"`
	Endpoint      string    `json:"endpoint"`
	Ports         []port    `json:"ports"`
	Topic         string    `json:"topic"`
	CertificateID string    `json:"certificate_id"` // AWS's
	Serial        string    `json:"serial"`
	NotBefore     time.Time `json:"not_before"`
	NotAfter      time.Time `json:"not_after"`
}

// port is one way to connect.
// https://docs.aws.amazon.com/iot/latest/developerguide/protocols.html
type port struct {
	Port     int    `json:"port"`
	Protocol string `json:"protocol"`
	ALPN     string `json:"alpn,omitempty"`
}

var awsPorts = []port{{8883, "mqtt", ""}, {443, "mqtt", alpnMQTT}, {8443, "https", ""}, {443, "https", "x-amzn-http-ca"}}

const alpnMQTT = "x-amzn-mqtt-ca"

//go:embed files
var programs embed.FS

// file is one file of a kit.
type file struct {
	name string
	data []byte
}

// Write writes a kit into a directory, which it makes if it is not there and
// refuses if anything is in it. It returns the names of the files. They have mode
// 0644: nothing in them is secret. If it fails, it leaves nothing behind.
func Write(dir string, k Kit) (names []string, err error) {
	files, err := k.files()
	if err != nil {
		return nil, fmt.Errorf("making the kit of %q: %w", k.Device, err)
	}
	made := false
	switch err := os.Mkdir(dir, 0o755); {
	case err == nil:
		made = true
	case !errors.Is(err, fs.ErrExist):
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	if len(entries) > 0 {
		return nil, fmt.Errorf("%s is not empty: nothing is overwritten, name another directory", dir)
	}
	defer func() {
		if err == nil {
			return
		}
		for _, name := range names {
			os.Remove(name)
		}
		if made {
			os.Remove(dir)
		}
		names = nil
	}()
	for _, f := range files {
		name := filepath.Join(dir, f.name)
		if err := writeNew(name, f.data); err != nil {
			return names, err
		}
		names = append(names, name)
	}
	return names, nil
}

// writeNew writes a file that must not be there, also not as a link.
func writeNew(name string, data []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	if _, err = f.Write(data); err == nil {
		err = f.Chmod(0o644) // whatever the umask
	}
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(name)
	}
	return err
}

func (k Kit) files() ([]file, error) {
	k, err := k.withDefaults()
	if err != nil {
		return nil, err
	}
	device, chain, err := k.path()
	if err != nil {
		return nil, err
	}
	roots, err := certificates("the roots", k.Roots)
	if err != nil {
		return nil, err
	}
	if len(roots) == 0 {
		return nil, errors.New("the roots hold no certificate")
	}
	list := []file{{"certificate.pem", encode(device)}}
	if len(chain) > 0 {
		list = append(list, file{"chain.pem", encode(chain...)})
	}
	list = append(list,
		file{"certificate-and-chain.pem", append(encode(device), encode(chain...)...)},
		file{"AmazonRootCA.pem", encode(roots...)})
	sum := sha256.Sum256(device.Raw)
	host, only, err := k.address()
	if err != nil {
		return nil, err
	}
	c := connection{
		Device: k.Device, Thing: k.Thing, ClientID: k.Thing, Endpoint: host, Ports: awsPorts, Topic: k.Topic,
		CertificateID: hex.EncodeToString(sum[:]), Serial: device.SerialNumber.Text(16),
		NotBefore: device.NotBefore.UTC(), NotAfter: device.NotAfter.UTC(),
	}
	first := 8883
	if only != 0 {
		first = only
		c.Ports = []port{{only, "mqtt", ""}, {only, "mqtt", alpnMQTT}}
	}
	body, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding connection.json: %w", err)
	}
	list = append(list, file{"connection.json", append(body, '\n')})
	return k.programs(list, c, first)
}

// programs adds the programs, with what is between @ filled in. All values have
// been checked to mean the same in each language.
func (k Kit) programs(list []file, c connection, first int) ([]file, error) {
	fill := strings.NewReplacer(
		"@DEVICE@", k.Device, "@THING@", k.Thing, "@ENDPOINT@", c.Endpoint, "@PORT@", strconv.Itoa(first),
		"@TOPIC@", k.Topic, "@KEY@", k.Key, "@NOT_AFTER@", c.NotAfter.Format(time.RFC3339), "@CERTIFICATE_ID@", c.CertificateID,
		"@CERTIFICATE_LINES@", quotedLines(list, "certificate-and-chain.pem"), "@ROOT_LINES@", quotedLines(list, "AmazonRootCA.pem"),
	)
	entries, err := programs.ReadDir("files")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		data, err := programs.ReadFile("files/" + e.Name())
		if err != nil {
			return nil, err
		}
		list = append(list, file{e.Name(), []byte(fill.Replace(string(data)))})
	}
	return list, nil
}

// quotedLines is a file as C strings, line by line.
func quotedLines(list []file, name string) string {
	var lines []string
	for _, f := range list {
		if f.name != name {
			continue
		}
		for line := range strings.Lines(string(f.data)) {
			lines = append(lines, `    "`+strings.TrimSpace(line)+`\n"`)
		}
	}
	return strings.Join(lines, "\n")
}
