package awssim

import (
	"strconv"
	"time"

	"mintmark/internal/pattern"
)

// maxTemplateVersions is how many versions a template may have (AWS General
// Reference, AWS IoT Core fleet provisioning limits).
const maxTemplateVersions = 5

var templateName = pattern.New(`^[0-9A-Za-z_-]{1,36}$`)

type template struct {
	seq         int64
	name        string
	kind        string // JITP or FLEET_PROVISIONING; never changes
	description string
	enabled     bool
	roleARN     string
	hook        *provisioningHook
	versions    []*templateVersion
	latest      int
	created     time.Time
	modified    time.Time
}

type templateVersion struct {
	id        int
	body      string
	doc       *templateDoc
	isDefault bool
	created   time.Time
}

type provisioningHook struct {
	PayloadVersion string `json:"payloadVersion,omitempty"`
	TargetARN      string `json:"targetArn"`
}

// check refuses a hook that could not be called. Only Lambda functions can be hooks,
// and the version of the payload is 2020-04-01 (API reference, ProvisioningHook).
func (h *provisioningHook) check() error {
	switch {
	case h == nil:
	case functionOf(h.TargetARN) == "":
		return invalid("preProvisioningHook: targetArn must be the ARN of a Lambda function, not %q", clip(h.TargetARN, 200))
	case h.PayloadVersion != "" && h.PayloadVersion != hookPayload:
		return invalid("preProvisioningHook: payloadVersion must be %s, not %q", hookPayload, clip(h.PayloadVersion, 32))
	}
	return nil
}

func (w *world) templateARN(name string) string { return w.arn("iot", "provisioningtemplate/"+name) }

func (t *template) defaultVersion() *templateVersion {
	for _, v := range t.versions {
		if v.isDefault {
			return v
		}
	}
	return t.versions[0]
}

func (w *world) findTemplate(name string) (*template, error) {
	if t, ok := w.templates[name]; ok {
		return t, nil
	}
	return nil, notFound("The provisioning template %s does not exist", clip(name, 64))
}

func createTemplate(c *call) (any, error) {
	var in struct {
		TemplateName        string            `json:"templateName"`
		TemplateBody        string            `json:"templateBody"`
		ProvisioningRoleARN string            `json:"provisioningRoleArn"`
		Description         string            `json:"description"`
		Enabled             bool              `json:"enabled"`
		Type                string            `json:"type"`
		PreProvisioningHook *provisioningHook `json:"preProvisioningHook"`
		Tags                []tag             `json:"tags"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	switch in.Type {
	case "":
		in.Type = fleetTemplate
	case fleetTemplate, "JITP":
	default:
		return nil, invalid("type must be FLEET_PROVISIONING or JITP, not %q", in.Type)
	}
	switch {
	case !templateName.MatchString(in.TemplateName):
		return nil, invalid("templateName %q: want 1 to 36 letters, digits, underscores or hyphens", clip(in.TemplateName, 64))
	case len(in.ProvisioningRoleARN) < 20 || len(in.ProvisioningRoleARN) > 2048:
		return nil, invalid("provisioningRoleArn must have 20 to 2048 characters")
	case len(in.Description) > 500:
		return nil, invalid("description must have at most 500 characters")
	case in.PreProvisioningHook != nil && in.Type == "JITP":
		// AWS IoT developer guide, jit-provisioning: hooks are for fleet provisioning.
		return nil, invalid("A JITP template cannot have a preProvisioningHook")
	}
	if err := in.PreProvisioningHook.check(); err != nil {
		return nil, err
	}
	doc, err := parseTemplate(in.TemplateBody)
	if err != nil {
		return nil, err
	}
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	if _, ok := c.w.templates[in.TemplateName]; ok {
		return nil, alreadyExists(in.TemplateName, c.w.templateARN(in.TemplateName), "The provisioning template %s already exists", in.TemplateName)
	}
	if err := room(c.w.templates, "provisioning templates"); err != nil {
		return nil, err
	}
	now := c.w.now()
	c.w.templates[in.TemplateName] = &template{
		seq: c.w.next(), name: in.TemplateName, kind: in.Type, description: in.Description, enabled: in.Enabled,
		roleARN: in.ProvisioningRoleARN, hook: in.PreProvisioningHook, latest: 1, created: now, modified: now,
		versions: []*templateVersion{{id: 1, body: in.TemplateBody, doc: doc, isDefault: true, created: now}},
	}
	c.w.setTags(c.w.templateARN(in.TemplateName), in.Tags)
	return map[string]any{
		"templateName": in.TemplateName, "templateArn": c.w.templateARN(in.TemplateName), "defaultVersionId": 1,
	}, nil
}

func (w *world) templateMembers(t *template) map[string]any {
	return map[string]any{
		"templateName": t.name, "templateArn": w.templateARN(t.name), "description": t.description,
		"enabled": t.enabled, "type": t.kind, "creationDate": epoch(t.created), "lastModifiedDate": epoch(t.modified),
	}
}

func describeTemplate(c *call) (any, error) {
	t, err := c.w.findTemplate(c.path["templateName"])
	if err != nil {
		return nil, err
	}
	v := t.defaultVersion()
	m := c.w.templateMembers(t)
	m["defaultVersionId"], m["templateBody"], m["provisioningRoleArn"] = v.id, v.body, t.roleARN
	if t.hook != nil {
		m["preProvisioningHook"] = t.hook
	}
	return m, nil
}

func listTemplates(c *call) (any, error) {
	list := sorted(c.w.templates, func(t *template) int64 { return t.seq })
	page, token, err := paginate(c, list, func(t *template) int64 { return t.seq }, "maxResults", "nextToken", true)
	if err != nil {
		return nil, err
	}
	out := []map[string]any{}
	for _, t := range page {
		out = append(out, c.w.templateMembers(t))
	}
	return withMarker(map[string]any{"templates": out}, "nextToken", token), nil
}

func updateTemplate(c *call) (any, error) {
	var in struct {
		Description               *string           `json:"description"`
		Enabled                   *bool             `json:"enabled"`
		DefaultVersionID          *int              `json:"defaultVersionId"`
		ProvisioningRoleARN       *string           `json:"provisioningRoleArn"`
		PreProvisioningHook       *provisioningHook `json:"preProvisioningHook"`
		RemovePreProvisioningHook *bool             `json:"removePreProvisioningHook"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	t, err := c.w.findTemplate(c.path["templateName"])
	if err != nil {
		return nil, err
	}
	if in.PreProvisioningHook != nil && t.kind == "JITP" {
		return nil, invalid("A JITP template cannot have a preProvisioningHook")
	}
	if err := in.PreProvisioningHook.check(); err != nil {
		return nil, err
	}
	var version *templateVersion
	if in.DefaultVersionID != nil {
		if version = t.version(strconv.Itoa(*in.DefaultVersionID)); version == nil {
			return nil, notFound("The provisioning template %s has no version %d", t.name, *in.DefaultVersionID)
		}
	}
	if in.Description != nil {
		t.description = *in.Description
	}
	if in.Enabled != nil {
		t.enabled = *in.Enabled
	}
	if in.ProvisioningRoleARN != nil {
		t.roleARN = *in.ProvisioningRoleARN
	}
	if in.PreProvisioningHook != nil {
		t.hook = in.PreProvisioningHook
	}
	if in.RemovePreProvisioningHook != nil && *in.RemovePreProvisioningHook {
		t.hook = nil
	}
	if version != nil {
		t.setDefault(version)
	}
	t.modified = c.w.now()
	return nil, nil
}

func (t *template) version(id string) *templateVersion {
	for _, v := range t.versions {
		if strconv.Itoa(v.id) == id {
			return v
		}
	}
	return nil
}

func (t *template) setDefault(v *templateVersion) {
	for _, other := range t.versions {
		other.isDefault = other == v
	}
}

// deleteTemplate refuses a template that a CA certificate names. The refusal is in
// the service model (DeleteConflictException); that this is its cause is inferred.
func deleteTemplate(c *call) (any, error) {
	t, err := c.w.findTemplate(c.path["templateName"])
	if err != nil {
		return nil, err
	}
	for _, ca := range c.w.cas {
		if ca.config != nil && ca.config.TemplateName == t.name {
			return nil, iotError("DeleteConflictException", "The provisioning template %s is associated with the CA certificate %s", t.name, ca.id)
		}
	}
	delete(c.w.templates, t.name)
	delete(c.w.tags, c.w.templateARN(t.name))
	return nil, nil
}

func createTemplateVersion(c *call) (any, error) {
	var in struct {
		TemplateBody string `json:"templateBody"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	setDefault, err := c.flag("setAsDefault")
	if err != nil {
		return nil, err
	}
	t, err := c.w.findTemplate(c.path["templateName"])
	if err != nil {
		return nil, err
	}
	doc, err := parseTemplate(in.TemplateBody)
	if err != nil {
		return nil, err
	}
	if len(t.versions) >= maxTemplateVersions {
		return nil, iotError("VersionsLimitExceededException", "The provisioning template %s already has %d versions", t.name, maxTemplateVersions)
	}
	t.latest++
	v := &templateVersion{id: t.latest, body: in.TemplateBody, doc: doc, created: c.w.now()}
	t.versions = append(t.versions, v)
	if setDefault {
		t.setDefault(v)
	}
	t.modified = c.w.now()
	return map[string]any{
		"templateName": t.name, "templateArn": c.w.templateARN(t.name), "versionId": v.id, "isDefaultVersion": v.isDefault,
	}, nil
}

func listTemplateVersions(c *call) (any, error) {
	t, err := c.w.findTemplate(c.path["templateName"])
	if err != nil {
		return nil, err
	}
	page, token, err := paginate(c, t.versions, func(v *templateVersion) int64 { return int64(v.id) }, "maxResults", "nextToken", true)
	if err != nil {
		return nil, err
	}
	out := []map[string]any{}
	for _, v := range page {
		out = append(out, map[string]any{"versionId": v.id, "isDefaultVersion": v.isDefault, "creationDate": epoch(v.created)})
	}
	return withMarker(map[string]any{"versions": out}, "nextToken", token), nil
}

func (c *call) templateVersion() (*template, *templateVersion, error) {
	t, err := c.w.findTemplate(c.path["templateName"])
	if err != nil {
		return nil, nil, err
	}
	v := t.version(c.path["versionId"])
	if v == nil {
		return nil, nil, notFound("The provisioning template %s has no version %s", t.name, clip(c.path["versionId"], 16))
	}
	return t, v, nil
}

func describeTemplateVersion(c *call) (any, error) {
	_, v, err := c.templateVersion()
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"versionId": v.id, "isDefaultVersion": v.isDefault, "creationDate": epoch(v.created), "templateBody": v.body,
	}, nil
}

func deleteTemplateVersion(c *call) (any, error) {
	t, v, err := c.templateVersion()
	if err != nil {
		return nil, err
	}
	if v.isDefault {
		return nil, iotError("DeleteConflictException", "Cannot delete the default version of the provisioning template %s", t.name)
	}
	for i := range t.versions {
		if t.versions[i] == v {
			t.versions = append(t.versions[:i], t.versions[i+1:]...)
			break
		}
	}
	return nil, nil
}
