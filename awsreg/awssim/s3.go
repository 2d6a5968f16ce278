package awssim

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// s3Call is one request to S3, path style: /bucket/key.
type s3Call struct {
	*call
	bucket, key string
	answer      http.Header // further headers of the answer
}

// s3Operation is one operation of S3 (Amazon S3 API reference). params are the query
// parameters that it acts on.
type s3Operation struct {
	name, method string
	on           string // service, bucket or object
	params       string
	run          func(*s3Call) (any, error)
}

var s3Operations = []s3Operation{
	{"ListBuckets", "GET", "service", "max-buckets", listBuckets},
	{"CreateBucket", "PUT", "bucket", "", createBucket},
	{"HeadBucket", "HEAD", "bucket", "", headBucket},
	{"ListObjectsV2", "GET", "bucket", "list-type prefix delimiter max-keys continuation-token start-after encoding-type fetch-owner", listObjects},
	{"PutObject", "PUT", "object", "", putObject},
	{"GetObject", "GET", "object", "", getObject},
	{"HeadObject", "HEAD", "object", "", getObject},
	{"DeleteObject", "DELETE", "object", "", deleteObject},
}

// s3Headers are the x-amz- headers that the simulator acts on, or that change
// nothing here. Any other one would be promised and not kept.
const s3Headers = " x-amz-date x-amz-content-sha256 x-amz-security-token x-amz-user-agent x-amz-decoded-content-length x-amz-trailer" +
	" x-amz-sdk-checksum-algorithm x-amz-checksum-mode x-amz-checksum-crc32 x-amz-checksum-crc32c x-amz-checksum-crc64nvme" +
	" x-amz-checksum-sha1 x-amz-checksum-sha256 x-amz-te x-amz-acl x-amz-expected-bucket-owner x-amz-bucket-region "

// serveS3 dispatches one request to S3.
func (s *Sim) serveS3(w http.ResponseWriter, c *call) {
	w.Header().Set("x-amz-request-id", w.Header().Get("x-amzn-RequestId")) // S3's own name of it
	c3 := &s3Call{call: c, answer: http.Header{}}
	raw, _, _ := strings.Cut(c.r.RequestURI, "?")
	bucket, key, isObject := strings.Cut(strings.TrimPrefix(raw, "/"), "/")
	on := "object"
	if isObject = isObject && key != ""; !isObject {
		on = "bucket"
	}
	if bucket == "" {
		on = "service"
	}
	var err1, err2 error
	c3.bucket, err1 = url.PathUnescape(bucket)
	c3.key, err2 = url.PathUnescape(key)
	if err1 != nil || err2 != nil {
		writeS3Error(w, c.r, s3Error("InvalidURI", 400, "Couldn't parse the specified URI."))
		return
	}
	for _, op := range s3Operations {
		if op.method != c.r.Method || op.on != on {
			continue
		}
		s.perform(w, c, "s3:"+op.name, func() (any, error) {
			if err := c3.check(op); err != nil {
				return nil, err
			}
			return op.run(c3)
		}, func(v any, e *apiError) { c3.write(w, v, e) })
		return
	}
	writeS3Error(w, c.r, s3Error("NotImplemented", 501, "this AWS simulator does not have the S3 operation %s on a %s", c.r.Method, on))
}

// check refuses what the simulator would have to ignore, with S3's own code for
// what is not implemented.
func (c *s3Call) check(op s3Operation) error {
	for name := range c.query {
		if name != "x-id" && !strings.Contains(" "+op.params+" ", " "+name+" ") {
			return s3Error("NotImplemented", 501, "this AWS simulator does not have the parameter %s of %s", clip(name, 64), op.name)
		}
	}
	for name := range c.r.Header {
		n := strings.ToLower(name)
		if strings.HasPrefix(n, "x-amz-") && !strings.Contains(s3Headers, " "+n+" ") {
			return s3Error("NotImplemented", 501, "A header you provided implies functionality that is not implemented: %s", clip(n, 64))
		}
		if op.method == "PUT" && strings.HasPrefix(n, "if-") && (op.name != "PutObject" || n != "if-match" && n != "if-none-match") {
			return s3Error("NotImplemented", 501, "A header you provided implies functionality that is not implemented: %s", n)
		}
	}
	switch acl := c.r.Header.Get("x-amz-acl"); acl {
	case "", "private", "bucket-owner-full-control":
	default:
		return s3Error("NotImplemented", 501, "this AWS simulator has no public objects: x-amz-acl %s", clip(acl, 64))
	}
	if owner := c.r.Header.Get("x-amz-expected-bucket-owner"); owner != "" && owner != c.w.account.ID {
		return s3Error("AccessDenied", 403, "Access Denied")
	}
	return nil
}

// objectContent is the answer of GetObject and HeadObject.
type objectContent struct {
	data []byte
	object
}

func (c *s3Call) write(w http.ResponseWriter, v any, e *apiError) {
	if e != nil {
		writeS3Error(w, c.r, e)
		return
	}
	for k, values := range c.answer {
		w.Header()[k] = values
	}
	switch v := v.(type) {
	case nil:
		if c.r.Method == http.MethodDelete {
			w.WriteHeader(http.StatusNoContent)
		}
	case objectContent:
		// Content types are not kept; S3's for an object without one is this.
		w.Header().Set("Content-Type", "binary/octet-stream")
		w.Header().Set("ETag", etag(v.data))
		http.ServeContent(w, c.r, "", v.modified, bytes.NewReader(v.data))
	default:
		writeXML(w, http.StatusOK, v)
	}
}

// writeS3Error writes an error as S3 does (Amazon S3 API reference,
// ErrorResponses). An answer to HEAD has no body.
func writeS3Error(w http.ResponseWriter, r *http.Request, e *apiError) {
	out := struct {
		XMLName   xml.Name `xml:"Error"`
		Code      string
		Message   string
		RequestID string `xml:"RequestId"`
	}{Code: e.code, Message: e.message, RequestID: w.Header().Get("x-amzn-RequestId")}
	if code, ok := map[string]string{
		"InvalidClientTokenId": "InvalidAccessKeyId", "MissingAuthenticationToken": "AccessDenied", "InternalFailureException": "InternalError",
		"RequestEntityTooLargeException": "EntityTooLarge",
	}[e.code]; ok {
		out.Code = code
	}
	if r.Method == http.MethodHead {
		w.WriteHeader(e.status)
		return
	}
	writeXML(w, e.status, out)
}

func etag(data []byte) string {
	sum := md5.Sum(data)
	return `"` + hex.EncodeToString(sum[:]) + `"`
}

// s3Time is a timestamp as the XML answers write it.
func s3Time(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

type bucketXML struct {
	Name         string
	CreationDate string
}

func listBuckets(c *s3Call) (any, error) {
	if c.query.Get("max-buckets") != "" {
		return nil, s3Error("NotImplemented", 501, "this AWS simulator lists all buckets at once")
	}
	names, err := c.w.sim.objects.names()
	if err != nil {
		return nil, err
	}
	out := struct {
		XMLName xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListAllMyBucketsResult"`
		Owner   struct {
			ID string
		}
		Buckets []bucketXML `xml:"Buckets>Bucket"`
	}{}
	out.Owner.ID = c.w.account.ID
	for _, n := range names {
		if c.w.sim.objects.permit(c.w.account.ID, n) != nil {
			continue // another account's
		}
		// When a bucket was made is not kept.
		out.Buckets = append(out.Buckets, bucketXML{n, s3Time(time.Unix(0, 0))})
	}
	return out, nil
}

func createBucket(c *s3Call) (any, error) {
	if len(c.body) > 0 {
		var in struct {
			LocationConstraint string
		}
		if err := xml.Unmarshal(c.body, &in); err != nil {
			return nil, s3Error("MalformedXML", 400, "The XML you provided was not well-formed")
		}
		if in.LocationConstraint != c.w.region {
			return nil, s3Error("IllegalLocationConstraintException", 400, "The %s location constraint is incompatible for the region specific endpoint this request was sent to.", clip(in.LocationConstraint, 64))
		}
	}
	c.answer.Set("Location", "/"+c.bucket)
	return nil, c.w.sim.objects.create(c.w.account.ID, c.bucket)
}

func headBucket(c *s3Call) (any, error) {
	root, err := c.w.sim.objects.open(c.w.account.ID, c.bucket)
	if err != nil {
		return nil, err
	}
	root.Close()
	c.answer.Set("x-amz-bucket-region", c.w.region)
	return nil, nil
}

func putObject(c *s3Call) (any, error) {
	data, err := c.payload()
	if err != nil {
		return nil, err
	}
	if h := c.r.Header.Get("Content-MD5"); h != "" {
		sum := md5.Sum(data)
		if h != base64.StdEncoding.EncodeToString(sum[:]) {
			return nil, s3Error("BadDigest", 400, "The Content-MD5 you specified did not match what we received.")
		}
	}
	condition, err := c.condition()
	if err != nil {
		return nil, err
	}
	c.answer.Set("ETag", etag(data))
	return nil, c.w.sim.objects.put(c.w.account.ID, c.bucket, c.key, data, condition)
}

// condition is that of a conditional write (Amazon S3 user guide, conditional-writes); nil
// for none. It is asked with the object that is there, nil if there is none.
func (c *s3Call) condition() (func(have []byte) error, error) {
	match, none := c.r.Header.Get("If-Match"), c.r.Header.Get("If-None-Match")
	if none != "" && (none != "*" || match != "") {
		return nil, s3Error("NotImplemented", 501, "A header you provided implies functionality that is not implemented: if-none-match")
	}
	if match+none == "" {
		return nil, nil
	}
	return func(have []byte) error {
		switch {
		case match != "" && have == nil:
			return noSuchKey(c.key)
		case match != "" && strings.Trim(match, `"`) != strings.Trim(etag(have), `"`), none != "" && have != nil:
			return s3Error("PreconditionFailed", 412, "At least one of the pre-conditions you specified did not hold")
		}
		return nil
	}, nil
}

func getObject(c *s3Call) (any, error) {
	data, o, err := c.w.sim.objects.get(c.w.account.ID, c.bucket, c.key)
	if err != nil {
		return nil, err
	}
	return objectContent{data, o}, nil
}

func deleteObject(c *s3Call) (any, error) {
	return nil, c.w.sim.objects.remove(c.w.account.ID, c.bucket, c.key)
}
