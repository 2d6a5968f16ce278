package awssim

import (
	"sort"
	"strconv"
	"time"

	"mintmark/internal/pattern"
)

// Limits of policies (AWS General Reference, AWS IoT Core endpoints and quotas).
const (
	maxPoliciesPerPrincipal = 10
	maxPolicyVersions       = 5
)

var policyName = pattern.New(`^[\w+=,.@-]{1,128}$`)

type policy struct {
	seq      int64
	name     string
	versions []*policyVersion
	latest   int // number of the newest version ever made
	created  time.Time
	modified time.Time
	gen      string
}

type policyVersion struct {
	id        string
	text      string
	doc       *policyDoc
	isDefault bool
	created   time.Time
}

func (w *world) policyARN(name string) string { return w.arn("iot", "policy/"+name) }

func (p *policy) defaultVersion() *policyVersion {
	for _, v := range p.versions {
		if v.isDefault {
			return v
		}
	}
	return p.versions[0]
}

func (w *world) findPolicy(name string) (*policy, error) {
	if p, ok := w.policies[name]; ok {
		return p, nil
	}
	return nil, notFound("Policy not found (name %s)", clip(name, 128))
}

func createPolicy(c *call) (any, error) {
	var in struct {
		PolicyDocument string `json:"policyDocument"`
		Tags           []tag  `json:"tags"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	p, err := c.w.addPolicy(c.path["policyName"], in.PolicyDocument)
	if err != nil {
		return nil, err
	}
	c.w.setTags(c.w.policyARN(p.name), in.Tags)
	return map[string]string{
		"policyName": p.name, "policyArn": c.w.policyARN(p.name),
		"policyDocument": in.PolicyDocument, "policyVersionId": "1",
	}, nil
}

func (w *world) addPolicy(name, text string) (*policy, error) {
	if !policyName.MatchString(name) {
		return nil, invalid("policyName %q: want 1 to 128 letters, digits or +=,.@-_", clip(name, 128))
	}
	doc, err := parsePolicy(text)
	if err != nil {
		return nil, err
	}
	if _, ok := w.policies[name]; ok {
		return nil, alreadyExists(name, w.policyARN(name), "Policy cannot be created - name already exists (name=%s)", name)
	}
	if err := room(w.policies, "policies"); err != nil {
		return nil, err
	}
	now := w.now()
	p := &policy{
		seq: w.next(), name: name, latest: 1, created: now, modified: now, gen: randomID(),
		versions: []*policyVersion{{id: "1", text: text, doc: doc, isDefault: true, created: now}},
	}
	w.policies[name] = p
	return p, nil
}

func getPolicy(c *call) (any, error) {
	p, err := c.w.findPolicy(c.path["policyName"])
	if err != nil {
		return nil, err
	}
	v := p.defaultVersion()
	return map[string]any{
		"policyName": p.name, "policyArn": c.w.policyARN(p.name), "policyDocument": v.text,
		"defaultVersionId": v.id, "creationDate": epoch(p.created), "lastModifiedDate": epoch(p.modified),
		"generationId": p.gen,
	}, nil
}

func listPolicies(c *call) (any, error) {
	ascending, err := c.flag("isAscendingOrder")
	if err != nil {
		return nil, err
	}
	return c.policyPage(sorted(c.w.policies, func(p *policy) int64 { return p.seq }), ascending)
}

func (c *call) policyPage(list []*policy, ascending bool) (any, error) {
	page, marker, err := paginate(c, list, func(p *policy) int64 { return p.seq }, "pageSize", "marker", ascending)
	if err != nil {
		return nil, err
	}
	out := []map[string]string{}
	for _, p := range page {
		out = append(out, map[string]string{"policyName": p.name, "policyArn": c.w.policyARN(p.name)})
	}
	return withMarker(map[string]any{"policies": out}, "nextMarker", marker), nil
}

// deletePolicy refuses a policy that is attached or has other versions (API
// reference, DeletePolicy). AWS may need minutes after a detach; here it does not.
func deletePolicy(c *call) (any, error) {
	p, err := c.w.findPolicy(c.path["policyName"])
	if err != nil {
		return nil, err
	}
	if len(c.w.targetsOf(p.name)) > 0 {
		return nil, iotError("DeleteConflictException", "The policy cannot be deleted as the policy is attached to one or more principals (name=%s)", p.name)
	}
	if len(p.versions) > 1 {
		return nil, iotError("DeleteConflictException", "Cannot delete the policy because it has one or more policy versions attached to it (name=%s)", p.name)
	}
	delete(c.w.policies, p.name)
	delete(c.w.tags, c.w.policyARN(p.name))
	return nil, nil
}

func createPolicyVersion(c *call) (any, error) {
	var in struct {
		PolicyDocument string `json:"policyDocument"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	setDefault, err := c.flag("setAsDefault")
	if err != nil {
		return nil, err
	}
	p, err := c.w.findPolicy(c.path["policyName"])
	if err != nil {
		return nil, err
	}
	doc, err := parsePolicy(in.PolicyDocument)
	if err != nil {
		return nil, err
	}
	if len(p.versions) >= maxPolicyVersions {
		return nil, iotError("VersionsLimitExceededException", "The policy %s already has %d versions", p.name, maxPolicyVersions)
	}
	p.latest++
	v := &policyVersion{id: strconv.Itoa(p.latest), text: in.PolicyDocument, doc: doc, created: c.w.now()}
	p.versions = append(p.versions, v)
	if setDefault {
		p.setDefault(v, c.w.now())
	}
	return map[string]any{
		"policyArn": c.w.policyARN(p.name), "policyDocument": v.text,
		"policyVersionId": v.id, "isDefaultVersion": v.isDefault,
	}, nil
}

func (p *policy) setDefault(v *policyVersion, now time.Time) {
	for _, other := range p.versions {
		other.isDefault = other == v
	}
	p.modified = now
}

func listPolicyVersions(c *call) (any, error) {
	p, err := c.w.findPolicy(c.path["policyName"])
	if err != nil {
		return nil, err
	}
	out := []map[string]any{}
	for _, v := range p.versions {
		out = append(out, map[string]any{"versionId": v.id, "isDefaultVersion": v.isDefault, "createDate": epoch(v.created)})
	}
	return map[string]any{"policyVersions": out}, nil
}

func (c *call) policyVersion() (*policy, *policyVersion, error) {
	p, err := c.w.findPolicy(c.path["policyName"])
	if err != nil {
		return nil, nil, err
	}
	for _, v := range p.versions {
		if v.id == c.path["policyVersionId"] {
			return p, v, nil
		}
	}
	return nil, nil, notFound("Policy version %s of %s not found", clip(c.path["policyVersionId"], 32), p.name)
}

func getPolicyVersion(c *call) (any, error) {
	p, v, err := c.policyVersion()
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"policyName": p.name, "policyArn": c.w.policyARN(p.name), "policyDocument": v.text,
		"policyVersionId": v.id, "isDefaultVersion": v.isDefault, "creationDate": epoch(v.created),
		"lastModifiedDate": epoch(v.created), "generationId": p.gen,
	}, nil
}

func setDefaultPolicyVersion(c *call) (any, error) {
	p, v, err := c.policyVersion()
	if err != nil {
		return nil, err
	}
	p.setDefault(v, c.w.now())
	return nil, nil
}

func deletePolicyVersion(c *call) (any, error) {
	p, v, err := c.policyVersion()
	if err != nil {
		return nil, err
	}
	if v.isDefault {
		return nil, iotError("DeleteConflictException", "Cannot delete the default version of a policy (name=%s)", p.name)
	}
	for i := range p.versions {
		if p.versions[i] == v {
			p.versions = append(p.versions[:i], p.versions[i+1:]...)
			break
		}
	}
	return nil, nil
}

func attachPolicy(c *call) (any, error) {
	var in struct {
		Target string `json:"target"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	return nil, c.w.attach(c.path["policyName"], in.Target)
}

// attachPrincipalPolicy is the older form of AttachPolicy, which the function of
// many a JITR tutorial still calls.
func attachPrincipalPolicy(c *call) (any, error) {
	return nil, c.w.attach(c.path["policyName"], c.r.Header.Get("x-amzn-iot-principal"))
}

// attach is idempotent; a principal holds at most ten policies.
func (w *world) attach(name, target string) error {
	p, err := w.findPolicy(name)
	if err != nil {
		return err
	}
	cert, err := w.certByARN(target)
	if err != nil {
		return err
	}
	if contains(cert.policies, p.name) {
		return nil
	}
	if len(cert.policies) >= maxPoliciesPerPrincipal {
		return iotError("LimitExceededException", "The maximum number of policies per principal is %d", maxPoliciesPerPrincipal)
	}
	cert.policies = append(cert.policies, p.name)
	return nil
}

func detachPolicy(c *call) (any, error) {
	var in struct {
		Target string `json:"target"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	return nil, c.w.detach(c.path["policyName"], in.Target)
}

func detachPrincipalPolicy(c *call) (any, error) {
	return nil, c.w.detach(c.path["policyName"], c.r.Header.Get("x-amzn-iot-principal"))
}

func (w *world) detach(name, target string) error {
	cert, err := w.certByARN(target)
	if err != nil {
		return err
	}
	for i, n := range cert.policies {
		if n == name {
			cert.policies = append(cert.policies[:i], cert.policies[i+1:]...)
			break
		}
	}
	return nil
}

// targetsOf lists the ARNs of the certificates that hold a policy.
func (w *world) targetsOf(name string) []string {
	out := []string{}
	for _, cert := range w.certs {
		if contains(cert.policies, name) {
			out = append(out, w.certARN(cert.id))
		}
	}
	sort.Strings(out)
	return out
}

func listAttachedPolicies(c *call) (any, error) {
	cert, err := c.w.certByARN(c.path["target"])
	if err != nil {
		return nil, err
	}
	var list []*policy
	for _, p := range sorted(c.w.policies, func(p *policy) int64 { return p.seq }) {
		if contains(cert.policies, p.name) {
			list = append(list, p)
		}
	}
	return c.policyPage(list, true)
}

func listTargetsForPolicy(c *call) (any, error) {
	p, err := c.w.findPolicy(c.path["policyName"])
	if err != nil {
		return nil, err
	}
	holds := func(cert *certificate) bool { return contains(cert.policies, p.name) }
	page, marker, err := paginateIf(c, c.w.certsInOrder(), holds, func(x *certificate) int64 { return x.seq }, "pageSize", "marker", true)
	if err != nil {
		return nil, err
	}
	out := []string{}
	for _, cert := range page {
		out = append(out, c.w.certARN(cert.id))
	}
	return withMarker(map[string]any{"targets": out}, "nextMarker", marker), nil
}
