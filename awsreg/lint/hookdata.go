package lint

import "mintmark/awsreg/hook"

// hookAnswer checks what a hook answers.
// https://docs.aws.amazon.com/iot/latest/developerguide/pre-provisioning-hook.html
func (u *unit) hookAnswer(n *node) {
	u.about("hook's answer")
	u.answer(n)
}

// answer checks an answer, in a document or as a literal in code.
func (u *unit) answer(n *node) {
	allow := n.get("allowProvisioning")
	if allow.is(text) || allow.is(number) || allow.is(null) {
		u.add("hook-answer", allow.line, "allowProvisioning is %s; AWS wants true or false and refuses the device otherwise", or(quotedText(allow), "null"))
	}
	overrides := n.get("parameterOverrides")
	if overrides != nil && (overrides.is(text) || overrides.is(array) || overrides.is(number)) {
		u.add("hook-answer", overrides.line, "parameterOverrides is not an object of names and texts")
	}
	for _, m := range overrides.members0() {
		if m.value.is(number) || m.value.is(boolean) || m.value.is(array) || m.value.is(null) {
			u.add("hook-answer", m.line, "the override of %s is not a text", cut(m.name))
		}
	}
}

func quotedText(n *node) string {
	if n.is(text) {
		return quoted(n.text)
	}
	return n.str()
}

// hookEvent checks a sample of what AWS IoT sends to a hook or to the function of
// just-in-time registration.
func (u *unit) hookEvent(n *node) {
	u.about("event")
	ids := []string{"claimCertificateId", "certificateId"}
	if n.get("caCertificateId") != nil {
		ids = []string{"caCertificateId", "certificateId"}
		if s := n.get("certificateStatus"); s.str() != "PENDING_ACTIVATION" {
			u.add("hook-event", n.line, "certificateStatus is %q; the event always has PENDING_ACTIVATION", cut(s.str()))
		}
	} else if !n.get("parameters").is(object) {
		u.add("hook-event", n.line, "it has no parameters")
	}
	for _, name := range ids {
		if v := n.get(name); v == nil || !hook.ValidID(v.str()) {
			u.add("hook-event", n.line, "%s is not 64 hexadecimal digits", name)
		}
	}
	for _, m := range n.get("parameters").members0() {
		if m.value.kind != text {
			u.add("hook-event", m.line, "parameter %s is not a text; parameters always are", cut(m.name))
		}
	}
}
