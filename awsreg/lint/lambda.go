package lint

import (
	"strconv"
	"strings"

	"mintmark/internal/pattern"
)

// hookLimit is how many seconds AWS IoT waits for a pre-provisioning hook.
// https://docs.aws.amazon.com/iot/latest/developerguide/pre-provisioning-hook.html
const hookLimit = 5

// Runtimes that AWS no longer maintains, or that are about to go.
// https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html
var oldRuntimes = words(`python2.7 python3.6 python3.7 python3.8 python3.9 nodejs nodejs4.3 nodejs6.10 nodejs8.10
	nodejs10.x nodejs12.x nodejs14.x nodejs16.x nodejs18.x go1.x java8 java8.al2 dotnetcore2.1 dotnetcore3.1 dotnet5.0 dotnet6 ruby2.5 ruby2.7 provided`)

// lambda checks a function by itself.
func (u *unit) lambda(r resource) {
	u.about("function %s", quoted(r.id))
	run := r.props.get("Runtime")
	if name := runtimeName(run); oldRuntimes[name] {
		u.add("runtime", run.line, "AWS has ended the support of %s: take a current one", name)
	}
	for _, name := range []string{"Policies", "ManagedPolicyArns"} { // of AWS::Serverless::Function
		for _, p := range r.props.get(name).list() {
			u.managedPolicy(p)
			if p.get("Statement") != nil {
				u.iamPolicy(p)
			}
		}
	}
	source := r.props.at("Code", "ZipFile")
	if source == nil {
		source = r.props.get("InlineCode")
	}
	if source.is(text) && !source.partial {
		u.inline(r, source)
	}
}

// runtimeName is python3.9 of "python3.9" and of Runtime.PYTHON_3_9.
func runtimeName(n *node) string {
	if n == nil {
		return ""
	}
	if n.is(text) {
		return strings.ToLower(n.text)
	}
	name := strings.ToLower(last(n.text))
	parts := strings.SplitN(name, "_", 2)
	if len(parts) != 2 {
		return name
	}
	version := strings.ReplaceAll(parts[1], "_", ".")
	return parts[0] + version
}

// inline checks code that stands in the stack.
func (u *unit) inline(r resource, source *node) {
	python := strings.HasPrefix(runtimeName(r.props.get("Runtime")), "python")
	v := &unit{}
	v.readCode(source.text, python)
	if v.broken != nil {
		return
	}
	v.file = u.file
	v.about("function %s", quoted(r.id))
	v.rules()
	for _, f := range v.report.list {
		if f.Line > 0 {
			f.Line += source.line - 1
		}
		u.report.list = append(u.report.list, f)
	}
	u.comments = append(u.comments, v.comments...)
	if u.hook == nil {
		u.hook = v.hook
	}
	u.handler(r, []*unit{v}, "index")
}

// seconds is a time-out: 5, or Duration.seconds(5).
func seconds(n *node) (int, bool) {
	if n == nil {
		return 0, false
	}
	factor := 1
	if n.is(call) {
		switch strings.ToLower(last(n.text)) {
		case "seconds":
		case "minutes":
			factor = 60
		case "hours":
			factor = 3600
		case "days":
			factor = 86400
		default:
			return 0, false
		}
		if len(n.items) != 1 {
			return 0, false
		}
		n = n.items[0]
	}
	v, err := strconv.ParseFloat(n.str(), 64)
	if err != nil || v < 0 || v > 1e9 {
		return 0, false
	}
	return int(v * float64(factor)), true
}

// permission checks who may call a function.
func (u *unit) permission(r resource) {
	if !ofIoT(r) {
		return
	}
	u.about("permission %s", quoted(r.id))
	if r.props.get("SourceArn") == nil && r.props.get("SourceAccount") == nil {
		u.add("hook-permission-source", r.line, "AWS IoT may call the function on behalf of every account: add SourceAccount, and SourceArn")
	}
}

func ofIoT(r resource) bool {
	found := false
	r.props.get("Principal").walk(func(n *node) { found = found || n.is(text) && n.text == "iot.amazonaws.com" })
	return found
}

var hookHint = pattern.New(`(?i)hook|verify|validat|pre-?provision`)

// hooks checks the functions that templates name as their hooks.
func (u *unit) hooks(role Role) {
	for _, f := range u.resources {
		if f.kind != "AWS::Lambda::Function" || !u.isHook(f, role) {
			continue
		}
		u.about("hook %s", quoted(f.id))
		timeout := f.props.get("Timeout")
		if s, ok := seconds(timeout); ok && s > hookLimit {
			u.add("hook-timeout", timeout.line, "its time-out is %d s; AWS IoT waits for %d s and then refuses the device. Give it %d s at most, so that a slow answer is an error in its own log", s, hookLimit, hookLimit)
		}
		allowed := false
		for _, p := range u.resources {
			if p.kind == "AWS::Lambda::Permission" && ofIoT(p) {
				target := p.props.get("FunctionName")
				allowed = allowed || p.variable != "" && p.variable == f.variable || target != nil && f.named(target)
			}
		}
		if !allowed {
			u.add("hook-permission", f.line, "AWS IoT is not allowed to call it: add a permission for iot.amazonaws.com with SourceAccount and SourceArn")
		}
	}
}

// isHook reports whether a template of the stack has the function as its hook, or
// may have it.
func (u *unit) isHook(f resource, role Role) bool {
	for _, t := range u.resources {
		if t.kind != "AWS::IoT::ProvisioningTemplate" {
			continue
		}
		hook := t.props.get("PreProvisioningHook")
		if hook != nil && f.named(hook) {
			return true
		}
	}
	return role == Hook || role == Rotation || hookHint.MatchString(f.id) && !strings.HasPrefix(runtimeName(f.props.get("Runtime")), "provided")
}
