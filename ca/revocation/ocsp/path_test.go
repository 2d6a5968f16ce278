package ocsp

import (
	"bytes"
	"encoding/base64"
	"net/url"
	"testing"
)

// FuzzPath reads any path without harm, and every request that a client could put there.
func FuzzPath(f *testing.F) {
	for _, path := range []string{"", "MEk=", "/MEk", "ME%2Bk%3D", "%", "M\x00", "====", "//////"} {
		f.Add(path, []byte("0\x03\x0a\x01"))
	}
	f.Fuzz(func(t *testing.T, path string, request []byte) {
		if der, err := decodePath(path); err != nil && der != nil && len(der) > len(path) {
			t.Fatalf("%d bytes of %d", len(der), len(path))
		}
		// A request is a SEQUENCE, whose base64 begins with M, and so never with a slash.
		request = append([]byte{0x30}, request...)
		if len(request) > maxRequest {
			return
		}
		text := base64.StdEncoding.EncodeToString(request)
		for _, path := range []string{text, url.PathEscape(text), url.QueryEscape(text), "/" + text} {
			der, err := decodePath(path)
			if err != nil || !bytes.Equal(der, request) {
				t.Fatalf("%q: %x, %v", path, der, err)
			}
		}
	})
}
