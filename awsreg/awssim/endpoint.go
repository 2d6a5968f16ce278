package awssim

import (
	"net"
	"sort"
	"strings"
)

// describeEndpoint answers the address of the broker. AWS answers a host name,
// and the port is 8883 or 443; here the port is part of the answer, because it is
// whichever was free. The types iot:Data and iot:Jobs, and with them the default,
// are retired (measured on the real service by the authors of ministack).
func describeEndpoint(c *call) (any, error) {
	switch v := c.query.Get("endpointType"); v {
	case "iot:Data-ATS":
		address := c.w.sim.BrokerAddr()
		if _, port, err := net.SplitHostPort(address); err == nil && c.w.sim.cfg.Localhost && c.w.account.ID == c.w.sim.cfg.Accounts[0].ID && c.w.region == c.w.sim.cfg.Region {
			address = net.JoinHostPort("localhost", port) // what it answers to with SNI
		}
		return map[string]string{"endpointAddress": address}, nil
	case "", "iot:Data", "iot:Jobs":
		return nil, invalid("The endpoint type iot:Data and iot:Jobs are no longer supported; use iot:Data-ATS")
	case "iot:CredentialProvider":
		return nil, noOperation("the credential provider")
	default:
		return nil, invalid("endpointType %q is not an endpoint type", clip(v, 64))
	}
}

// maxTags is how many tags a resource may have (AWS General Reference).
const maxTags = 50

func checkTags(tags []tag) error {
	if len(tags) > maxTags {
		return invalid("a resource has at most %d tags", maxTags)
	}
	for _, t := range tags {
		if t.Key == "" || len(t.Key) > 128 || len(t.Value) > 256 {
			return invalid("tag %q: keys have 1 to 128 characters, values at most 256", clip(t.Key, 128))
		}
	}
	return nil
}

func (w *world) setTags(arn string, tags []tag) {
	for _, t := range tags {
		if w.tags[arn] == nil {
			w.tags[arn] = map[string]string{}
		}
		w.tags[arn][t.Key] = t.Value
	}
}

// taggable finds what an ARN names. Certificates and things cannot be tagged
// (AWS IoT developer guide, tagging-iot).
func (w *world) taggable(arn string) error {
	rest, ok := strings.CutPrefix(arn, w.arn("iot", ""))
	kind, name, _ := strings.Cut(rest, "/")
	if ok {
		switch kind {
		case "cacert":
			_, ok = w.cas[name]
		case "policy":
			_, ok = w.policies[name]
		case "rule":
			_, ok = w.rules[name]
		case "provisioningtemplate":
			_, ok = w.templates[name]
		case "thingtype":
			ok = w.thingTypeExists(name)
		case "thinggroup":
			ok = w.thingGroupExists(name)
		case "domainconfiguration":
			name, _, _ = strings.Cut(name, "/")
			_, ok = w.domain.configs[name]
			ok = ok && arn == w.domainARN(name)
		case "certificateprovider:" + w.fleet.providerName():
			ok = name == "" && w.fleet.provider != nil
		default:
			return invalid("resources of type %q cannot be tagged", clip(kind, 64))
		}
	}
	if !ok {
		return notFound("The resource %s does not exist", clip(arn, 200))
	}
	return nil
}

func tagResource(c *call) (any, error) {
	var in struct {
		ResourceARN string `json:"resourceArn"`
		Tags        []tag  `json:"tags"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if err := c.w.taggable(in.ResourceARN); err != nil {
		return nil, err
	}
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	n := len(c.w.tags[in.ResourceARN])
	for _, t := range in.Tags {
		if _, ok := c.w.tags[in.ResourceARN][t.Key]; !ok {
			n++
		}
	}
	if n > maxTags {
		return nil, iotError("LimitExceededException", "a resource has at most %d tags", maxTags)
	}
	c.w.setTags(in.ResourceARN, in.Tags)
	return nil, nil
}

func untagResource(c *call) (any, error) {
	var in struct {
		ResourceARN string   `json:"resourceArn"`
		TagKeys     []string `json:"tagKeys"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if err := c.w.taggable(in.ResourceARN); err != nil {
		return nil, err
	}
	for _, k := range in.TagKeys {
		delete(c.w.tags[in.ResourceARN], k)
	}
	return nil, nil
}

func listTagsForResource(c *call) (any, error) {
	arn := c.query.Get("resourceArn")
	if err := c.w.taggable(arn); err != nil {
		return nil, err
	}
	out := []tag{}
	for k, v := range c.w.tags[arn] {
		out = append(out, tag{k, v})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Key < out[j].Key })
	return map[string]any{"tags": out}, nil
}
