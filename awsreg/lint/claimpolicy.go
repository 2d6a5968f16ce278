package lint

import "strings"

// claimPolicy checks what a claim certificate may do: connect, ask for a
// certificate, provision by its templates, and hear the answers. Whoever has one
// device has its claim, so that everything else is too much.
// https://docs.aws.amazon.com/iot/latest/developerguide/provision-wo-cert.html#claim-based
func (u *unit) claimPolicy(policy *node) {
	allowed := map[string][]string{} // topics by action
	for _, g := range grants(policy) {
		if !g.allow {
			continue
		}
		for _, a := range g.actions {
			switch _, name := verb(a.value()); name {
			case "connect", "publish", "subscribe", "receive":
			case "*":
			default:
				if deviceActions[name] {
					u.add("claim-wide", a.line, "a claim does not need %s", cut(a.value()))
				}
			}
		}
		for _, r := range g.resources {
			v := r.value()
			kind, topic := resourceOf(v)
			if v == "*" {
				topic, kind = "*", "*"
			}
			for _, action := range []string{"publish", "receive", "subscribe"} {
				want := wantedKind[action]
				if g.does("iot:"+action) && (kind == want || strings.HasPrefix(kind, "*") || kind == "") {
					allowed[action] = append(allowed[action], topic)
				}
			}
			if !g.only("iot:Connect") && kind != "client" {
				u.claimTopic(r.line, topic)
			}
		}
	}
	line := policy.line
	asks := covers(allowed["publish"], "$aws/certificates/create-from-csr/json")
	if !asks {
		text := "it lacks publish on $aws/certificates/create-from-csr/*: a device that makes its own key cannot get a certificate"
		if covers(allowed["publish"], "$aws/certificates/create/json") {
			text = "$aws/certificates/create/* does not cover $aws/certificates/create-from-csr/*: a device that makes its own key cannot get a certificate"
		}
		u.add("claim-topics", line, "%s", text)
	}
	if !coversTemplate(allowed["publish"], "") {
		u.add("claim-topics", line, "it lacks publish on $aws/provisioning-templates/<template>/provision/*: a device gets a certificate and then cannot use it")
	}
	for action, what := range map[string]string{"subscribe": "subscribe on the topic filters", "receive": "receive on the topics"} {
		if asks && !covers(allowed[action], "$aws/certificates/create-from-csr/json/accepted") {
			u.add("claim-topics", line, "it lacks %s of $aws/certificates/create-from-csr/*: the answer never comes", what)
		}
		if coversTemplate(allowed["publish"], "") && !coversTemplate(allowed[action], "/accepted") {
			u.add("claim-topics", line, "it lacks %s of $aws/provisioning-templates/<template>/provision/*: the answer never comes", what)
		}
	}
}

func covers(patterns []string, topic string) bool {
	for _, p := range patterns {
		if glob(p, topic) {
			return true
		}
	}
	return false
}

// coversTemplate reports whether the provisioning topics of any template are in
// the patterns.
func coversTemplate(patterns []string, suffix string) bool {
	for _, p := range patterns {
		template := "any"
		if rest, ok := strings.CutPrefix(p, "$aws/provisioning-templates/"); ok {
			template, _, _ = strings.Cut(rest, "/")
			if placeholder.MatchString(template) || strings.Contains(template, "*") {
				p = strings.Replace(p, template, "any", 1)
				template = "any"
			}
		}
		if glob(p, "$aws/provisioning-templates/"+template+"/provision/json"+suffix) {
			return true
		}
	}
	return false
}

func (u *unit) claimTopic(line int, topic string) {
	switch {
	case topic == "" || strings.HasPrefix(topic, "${"):
	case strings.HasPrefix(topic, "*"), strings.HasPrefix("$aws/certificates/create", strings.TrimRight(topic, "*")) && strings.HasSuffix(topic, "*"),
		strings.HasPrefix("$aws/provisioning-templates/", strings.TrimRight(topic, "*")) && strings.HasSuffix(topic, "*"),
		strings.HasPrefix(topic, "$aws/provisioning-templates/*"):
		u.add("claim-wide", line, "%q is more than the topics of provisioning by one template: whoever takes a claim out of a device could use it", cut(topic))
	case !provisioningTopic(topic):
		u.add("claim-wide", line, "%q is no topic of provisioning: a claim is for getting a certificate only", cut(topic))
	case strings.HasPrefix(topic, "$aws/certificates/create/"):
		u.add("cloud-key-topic", line, "$aws/certificates/create/* has AWS make the device's private key and send it: allow $aws/certificates/create-from-csr/* only")
	}
}
