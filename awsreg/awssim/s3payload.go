package awssim

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// How the body of an S3 request is signed (Amazon S3 API reference,
// sig-v4-header-based-auth: values of x-amz-content-sha256).
const (
	unsignedPayload = "UNSIGNED-PAYLOAD"
	unsignedTrailer = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
)

// payloadHash is the hash of the body for the canonical request. S3 takes it from
// the header, which may also say that the body is not signed; elsewhere the header
// is optional and must be right.
func payloadHash(r *http.Request, body []byte, service string) (string, bool) {
	sum := sha256.Sum256(body)
	payload := hex.EncodeToString(sum[:])
	header := r.Header.Get("X-Amz-Content-Sha256")
	if service == "s3" {
		// What else begins with STREAMING- is refused once it has authenticated.
		if header == unsignedPayload || strings.HasPrefix(header, "STREAMING-") {
			return header, true
		}
		return header, header == payload
	}
	return payload, header == "" || header == payload
}

// canonicalPath is the path of the canonical request. It is encoded a second time
// for every service but S3 ("Create a signed AWS API request", step 1).
func canonicalPath(path, service string) string {
	if service == "s3" {
		plain, err := url.PathUnescape(path)
		if err != nil {
			return "\x00" // matches no signature
		}
		path = plain
	}
	return awsEscape(path, true)
}

// crc64NVME is the polynomial of CRC-64/NVME, reflected.
var crc64NVME = crc64.MakeTable(0x9A6C9329AC4BC9B5)

// checksums are the algorithms of x-amz-checksum-* (Amazon S3 user guide,
// checking-object-integrity).
var checksums = map[string]func() hash.Hash{
	"x-amz-checksum-crc32":     func() hash.Hash { return crc32.NewIEEE() },
	"x-amz-checksum-crc32c":    func() hash.Hash { return crc32.New(crc32.MakeTable(crc32.Castagnoli)) },
	"x-amz-checksum-crc64nvme": func() hash.Hash { return crc64.New(crc64NVME) },
	"x-amz-checksum-sha1":      sha1.New,
	"x-amz-checksum-sha256":    sha256.New,
}

// payload is the body of a PutObject, taken out of its chunks if it came in such,
// with every checksum that was sent checked.
func (c *s3Call) payload() ([]byte, error) {
	data, trailer := c.body, http.Header{}
	switch kind := c.r.Header.Get("X-Amz-Content-Sha256"); {
	case kind == unsignedTrailer:
		var err error
		if data, trailer, err = decodeChunks(c.body); err != nil {
			return nil, err
		}
		if n := c.r.Header.Get("X-Amz-Decoded-Content-Length"); n != strconv.Itoa(len(data)) {
			return nil, s3Error("IncompleteBody", 400, "The request body has %d bytes, x-amz-decoded-content-length says %q", len(data), clip(n, 20))
		}
		for _, name := range strings.Split(c.r.Header.Get("X-Amz-Trailer"), ",") {
			if name = strings.TrimSpace(name); name != "" && trailer.Get(name) == "" {
				return nil, s3Error("MalformedTrailerError", 400, "The trailer %s is not there", clip(name, 64))
			}
		}
	case strings.HasPrefix(kind, "STREAMING-"):
		return nil, s3Error("NotImplemented", 501, "this AWS simulator does not have bodies signed in chunks (%s)", clip(kind, 64))
	case strings.Contains(c.r.Header.Get("Content-Encoding"), "aws-chunked"):
		return nil, s3Error("InvalidRequest", 400, "aws-chunked needs an x-amz-content-sha256 of STREAMING-...")
	}
	for name, algorithm := range checksums {
		for _, h := range []http.Header{c.r.Header, trailer} {
			want := h.Get(name)
			if want == "" {
				continue
			}
			sum := algorithm()
			sum.Write(data)
			if have := base64.StdEncoding.EncodeToString(sum.Sum(nil)); have != want {
				return nil, s3Error("BadDigest", 400, "The %s you specified did not match the calculated checksum.", strings.TrimPrefix(name, "x-amz-checksum-"))
			}
			c.answer.Set(name, want)
		}
	}
	return data, nil
}

// decodeChunks reads a body of the content encoding aws-chunked whose chunks are not
// signed: "<hex length>\r\n<bytes>\r\n" each, the last of length 0, then the
// trailing headers and an empty line (Amazon S3 API reference,
// sigv4-streaming-trailers).
func decodeChunks(body []byte) ([]byte, http.Header, error) {
	bad := func(why string) ([]byte, http.Header, error) {
		return nil, nil, s3Error("IncompleteBody", 400, "The request body is not in aws-chunked encoding: %s", why)
	}
	data, trailer := []byte{}, http.Header{}
	for {
		line, rest, ok := bytes.Cut(body, []byte("\r\n"))
		if !ok || len(line) == 0 || len(line) > 8 {
			return bad("a chunk without its length")
		}
		n, err := strconv.ParseUint(string(line), 16, 32)
		if err != nil {
			return bad("the length of a chunk is not a hexadecimal number")
		}
		if body = rest; n == 0 {
			break
		}
		if uint64(len(body)) < n+2 || !bytes.Equal(body[n:n+2], []byte("\r\n")) {
			return bad("a chunk ends early")
		}
		data = append(data, body[:n]...)
		body = body[n+2:]
	}
	for len(body) > 0 {
		line, rest, _ := bytes.Cut(body, []byte("\n"))
		if body = rest; len(bytes.TrimSpace(line)) == 0 {
			break
		}
		name, value, ok := strings.Cut(string(line), ":")
		if !ok {
			return bad("a trailing header without a colon")
		}
		trailer.Set(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	if len(body) > 0 {
		return bad("bytes after the end")
	}
	return data, trailer, nil
}
