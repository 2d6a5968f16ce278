package awssim

import (
	"encoding/base64"
	"encoding/xml"
	"strconv"
	"strings"
)

// maxListedETag is the largest object that a listing reads for its ETag, which is not
// stored; GET and HEAD give that of every object.
const maxListedETag = 1 << 20

type contentsXML struct {
	Key          string
	LastModified string
	ETag         string `xml:",omitempty"`
	Size         int64
	StorageClass string
}

type prefixXML struct{ Prefix string }

type listingXML struct {
	XMLName     xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListBucketResult"`
	Name        string
	Prefix      string
	Delimiter   string `xml:",omitempty"`
	StartAfter  string `xml:",omitempty"`
	Encoding    string `xml:"EncodingType,omitempty"`
	MaxKeys     int
	KeyCount    int
	IsTruncated bool
	Token       string        `xml:"ContinuationToken,omitempty"`
	Next        string        `xml:"NextContinuationToken,omitempty"`
	Contents    []contentsXML `xml:",omitempty"`
	Prefixes    []prefixXML   `xml:"CommonPrefixes,omitempty"`
}

// listObjects is ListObjectsV2. Keys come in the order of their bytes; keys that
// have the delimiter after the prefix are rolled up into one common prefix, which
// counts as one key.
func listObjects(c *s3Call) (any, error) {
	q := c.query
	if q.Get("list-type") != "2" {
		return nil, s3Error("NotImplemented", 501, "this AWS simulator has ListObjectsV2 only")
	}
	out := listingXML{
		Name: c.bucket, Prefix: q.Get("prefix"), Delimiter: q.Get("delimiter"), StartAfter: q.Get("start-after"),
		Encoding: q.Get("encoding-type"), MaxKeys: 1000, Token: q.Get("continuation-token"),
	}
	if v := q.Get("max-keys"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 {
			return nil, s3Error("InvalidArgument", 400, "max-keys must be a number, not %q", clip(v, 20))
		}
		out.MaxKeys = min(n, 1000)
	}
	encode := func(s string) string { return s }
	switch out.Encoding {
	case "":
	case "url":
		encode = func(s string) string { return awsEscape(s, true) }
	default:
		return nil, s3Error("InvalidArgument", 400, "Invalid Encoding Method specified in Request")
	}
	after := out.StartAfter
	if out.Token != "" {
		b, err := base64.URLEncoding.DecodeString(out.Token)
		if err != nil {
			return nil, s3Error("InvalidArgument", 400, "The continuation token provided is incorrect")
		}
		after = string(b)
	}
	all, err := c.w.sim.objects.list(c.w.account.ID, c.bucket, out.Prefix)
	if err != nil {
		return nil, err
	}
	last := after
	for _, o := range all {
		if o.key <= after {
			continue
		}
		name, rolled := o.key, false
		if i := strings.Index(o.key[len(out.Prefix):], out.Delimiter); out.Delimiter != "" && i >= 0 {
			name, rolled = o.key[:len(out.Prefix)+i+len(out.Delimiter)], true
			if name == last || name <= after {
				continue // in the prefix that was the last one of this page or the page before
			}
		}
		if out.KeyCount == out.MaxKeys {
			if out.IsTruncated = out.MaxKeys > 0; out.IsTruncated {
				out.Next = base64.URLEncoding.EncodeToString([]byte(last))
			}
			break
		}
		out.KeyCount++
		last = name
		if rolled {
			out.Prefixes = append(out.Prefixes, prefixXML{encode(name)})
			continue
		}
		entry := contentsXML{Key: encode(o.key), LastModified: s3Time(o.modified), Size: o.size, StorageClass: "STANDARD"}
		if o.size <= maxListedETag {
			if data, _, err := c.w.sim.objects.get(c.w.account.ID, c.bucket, o.key); err == nil {
				entry.ETag = etag(data)
			}
		}
		out.Contents = append(out.Contents, entry)
	}
	out.Prefix, out.Delimiter, out.StartAfter = encode(out.Prefix), encode(out.Delimiter), encode(out.StartAfter)
	return out, nil
}
