package dpssim

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// sasToken is a shared access signature as it comes in the Authorization header
// (https://learn.microsoft.com/azure/iot-dps/concepts-control-access-dps):
//
//	SharedAccessSignature sr={url-encoded resource}&sig={...}&se={unix time}&skn={policy}
type sasToken struct {
	resource string // sr as it stands, still encoded: this is what is signed
	host     string // sr decoded
	sig      []byte
	expiry   int64 // unix seconds
	policy   string
}

const (
	sasScheme = "SharedAccessSignature "
	maxSAS    = 4096 // bytes of a header
)

// parseSAS reads an Authorization header. Each field must be there once, in any order.
func parseSAS(header string) (sasToken, error) {
	text, found := strings.CutPrefix(header, sasScheme)
	if !found {
		return sasToken{}, errors.New("the Authorization header is no SharedAccessSignature")
	}
	if len(header) > maxSAS {
		return sasToken{}, fmt.Errorf("the shared access signature has more than %d bytes", maxSAS)
	}
	fields := map[string]string{}
	for part := range strings.SplitSeq(strings.TrimSpace(text), "&") {
		name, value, found := strings.Cut(part, "=")
		if !found || value == "" {
			return sasToken{}, errors.New("a field of the shared access signature is not name=value")
		}
		switch name {
		case "sr", "sig", "se", "skn":
		default:
			return sasToken{}, fmt.Errorf("the shared access signature has an unknown field %q", clip(name, 32))
		}
		if _, twice := fields[name]; twice {
			return sasToken{}, fmt.Errorf("the field %s of the shared access signature is there twice", name)
		}
		fields[name] = value
	}
	for _, name := range []string{"sr", "sig", "se", "skn"} {
		if fields[name] == "" {
			return sasToken{}, fmt.Errorf("the shared access signature has no field %s", name)
		}
	}
	t := sasToken{resource: fields["sr"]}
	var err error
	if t.host, err = url.QueryUnescape(fields["sr"]); err != nil {
		return sasToken{}, errors.New("the field sr of the shared access signature is not url-encoded")
	}
	if t.policy, err = url.QueryUnescape(fields["skn"]); err != nil {
		return sasToken{}, errors.New("the field skn of the shared access signature is not url-encoded")
	}
	sig, err := url.PathUnescape(fields["sig"]) // + stays +: it is a digit of base64
	if err != nil {
		return sasToken{}, errors.New("the field sig of the shared access signature is not url-encoded")
	}
	if t.sig, err = base64.StdEncoding.DecodeString(sig); err != nil || len(t.sig) != sha256.Size {
		return sasToken{}, errors.New("the field sig of the shared access signature is not base64 of 32 bytes")
	}
	if t.expiry, err = strconv.ParseInt(fields["se"], 10, 64); err != nil || t.expiry < 0 {
		return sasToken{}, errors.New("the field se of the shared access signature is not a time")
	}
	return t, nil
}

// verifySAS checks a header for a host: the policy is one of keys, the signature is made
// with its key, it has not expired, and sr is the host, in lower case. A policy has every
// right here; at Azure it may have fewer. The error is for the log, not for the caller.
func verifySAS(header, host string, keys map[string]string, now time.Time) error {
	t, err := parseSAS(header)
	if err != nil {
		return err
	}
	key, err := base64.StdEncoding.DecodeString(keys[t.policy])
	if err != nil || len(key) == 0 {
		return fmt.Errorf("there is no shared access policy %q", clip(t.policy, 64))
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(t.resource + "\n" + strconv.FormatInt(t.expiry, 10)))
	switch {
	case !hmac.Equal(mac.Sum(nil), t.sig):
		return errors.New("the signature is not of this policy's key, or sr and se are not those that were signed")
	case now.Unix() >= t.expiry:
		return fmt.Errorf("the shared access signature expired at %s", time.Unix(t.expiry, 0).UTC().Format(time.RFC3339))
	case t.host != host:
		return fmt.Errorf("the shared access signature is for %q, not for %q", clip(t.host, 256), host)
	}
	return nil
}
