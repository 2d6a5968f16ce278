package lint

import (
	"strings"

	"mintmark/internal/pattern"
)

// The settings of AWS's sample client for fleet provisioning, and of the systems
// that were made of it.
// https://github.com/aws-samples/aws-iot-fleet-provisioning
var (
	clientSettings = []string{"SECURE_CERT_PATH", "ROOT_CERT", "CLAIM_CERT", "SECURE_KEY", "IOT_ENDPOINT", "PRODUCTION_TEMPLATE"}
	dataEndpoint   = pattern.New(`^[a-z0-9]+-ats\.iot\.[a-z0-9-]+\.amazonaws\.com(\.cn)?$`)
	oldEndpoint    = pattern.New(`^[a-z0-9]+\.iot\.[a-z0-9-]+\.amazonaws\.com(\.cn)?$`)
)

// settings checks a client's config.ini.
func (c *checker) settings(u *unit) {
	u.about("client settings")
	values, lines := map[string]string{}, map[string]int{}
	for i, line := range strings.Split(string(u.data), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") || strings.HasPrefix(line, "[") {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if colon := strings.IndexByte(line, ':'); !ok || colon >= 0 && colon < len(name) {
			name, value, ok = strings.Cut(line, ":")
		}
		if !ok {
			u.add("settings", i+1, "the line is not NAME = value")
			continue
		}
		name = strings.ToUpper(strings.TrimSpace(name))
		if _, twice := values[name]; twice {
			u.add("settings", i+1, "%s stands on line %d already", cut(name), lines[name])
		}
		values[name], lines[name] = strings.TrimSpace(value), i+1
	}
	if _, ok := values["IOT_ENDPOINT"]; !ok && values["CLAIM_CERT"] == "" {
		return // the settings of something else
	}
	for _, name := range clientSettings {
		if values[name] == "" {
			u.add("settings", lines[name], "%s is not set", name)
		}
	}
	u.endpoint(values["IOT_ENDPOINT"], lines["IOT_ENDPOINT"])
	for _, name := range []string{"PRODUCTION_TEMPLATE", "CERT_ROTATION_TEMPLATE"} {
		value := values[name]
		if value == "" {
			continue
		}
		if !templateName.MatchString(value) {
			u.add("template-name", lines[name], "%s %q must be 1 to 36 letters, digits and _ -", name, cut(value))
		}
		if all := c.templateNames(); len(all) > 0 && !all[value] {
			u.add("settings-template", lines[name], "%s is %q, and no template that is checked with it is called so", name, cut(value))
		}
	}
	if claim := values["CLAIM_CERT"]; claim != "" && claim == values["SECURE_KEY"] {
		u.add("settings", lines["CLAIM_CERT"], "CLAIM_CERT and SECURE_KEY name the same file")
	}
}

func (u *unit) endpoint(value string, line int) {
	switch {
	case value == "" || strings.ContainsAny(value, "<>${}"):
	case strings.Contains(value, "://") || strings.ContainsAny(value, ":/"):
		u.add("endpoint", line, "the endpoint %q is a host name, without scheme, port and path", cut(value))
	case oldEndpoint.MatchString(value):
		u.add("endpoint", line, "%q is the endpoint with the retired certificate of Symantec: use the one that `aws iot describe-endpoint --endpoint-type iot:Data-ATS` prints", cut(value))
	case strings.Contains(value, "amazonaws.com") && !dataEndpoint.MatchString(value):
		u.add("endpoint", line, "%q is not where devices connect: use the one that `aws iot describe-endpoint --endpoint-type iot:Data-ATS` prints", cut(value))
	}
}

// templateNames are the names of the templates in all files, if all are known.
func (c *checker) templateNames() map[string]bool {
	names := map[string]bool{}
	for _, u := range c.units {
		for _, r := range u.resources {
			if r.kind != "AWS::IoT::ProvisioningTemplate" {
				continue
			}
			name := r.props.get("TemplateName")
			if !known(name) {
				return nil
			}
			names[name.text] = true
		}
	}
	return names
}
