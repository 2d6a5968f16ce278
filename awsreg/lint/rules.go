package lint

// Rule is one kind of mistake.
type Rule struct {
	ID       string
	Severity Severity
	Finds    string // what it finds, for the documentation
	AWS      string // what AWS says, as far as that is known
	Source   string // where AWS, or who else, says so
}

const (
	guide       = "https://docs.aws.amazon.com/iot/latest/developerguide/"
	reference   = "https://docs.aws.amazon.com/iot/latest/apireference/"
	lambdaGuide = "https://docs.aws.amazon.com/lambda/latest/dg/"
)

// Where no call's own message is known, what AWS says is the error and its
// description in AWS's service model, as the SDK has it (iot/types/errors.go). The
// description goes for every cause of that error.
const (
	wrongCode        = "RegistrationCodeValidationException: The registration code is invalid."
	wrongCertificate = "CertificateValidationException: The certificate is invalid."
	wrongRequest     = "InvalidRequestException: The request is not valid."
	wrongSQL         = "SqlParseException: The Rule-SQL expression can't be parsed correctly."
	manyVersions     = "VersionsLimitExceededException: The number of policy versions exceeds the limit."
	overLimit        = "LimitExceededException: A limit has been exceeded."
)

// Rules lists all rules. The order is that of the documentation.
func Rules() []Rule { return append([]Rule(nil), rules...) }

func ruleOf(id string) Rule {
	for _, r := range rules {
		if r.ID == id {
			return r
		}
	}
	panic("lint: no rule " + id) // the rules of the code are checked by a test
}

var rules = []Rule{
	{"syntax", Refused, "a document that cannot be read", "Policy document is Malformed; of a stack: Template format error: JSON not well-formed, or YAML not well-formed", reference},
	{"circular", Refused, "resources of a CloudFormation template that need each other", "Circular dependency between resources: [...]", "https://aws.amazon.com/blogs/infrastructure-and-automation/handling-circular-dependency-errors-in-aws-cloudformation/"},
	{"private-key", Mistake, "a private key in a file", "", guide + "security-best-practices.html"},

	// Certificates.
	{"ca-true", Refused, "a CA certificate without CA:TRUE", "CA certificate is not valid. The CA certificate does not have the basicConstraints extension as true", guide + "manage-your-CA-certs.html"},
	{"key", Refused, "an RSA key of less than 2048 bits, or a key of another type or curve", "the key in the certificate is not valid", guide + "x509-client-certs.html"},
	{"key-uncertain", Uncertain, "a key on P-521", "", guide + "x509-client-certs.html"},
	{"signature", Refused, "a signature with SHA-1 or another old algorithm", "CA certificate is not valid", guide + "x509-client-certs.html"},
	{"signature-uncertain", Uncertain, "a signature with RSASSA-PSS", "", guide + "x509-client-certs.html"},
	{"validity", Refused, "a certificate that has expired, or is not valid yet", "CA certificate is not valid", guide + "manage-your-CA-certs.html"},
	{"certificate-size", Refused, "a CA certificate of more than 65536 characters", "Value at 'caCertificate' failed to satisfy constraint: Member must have length less than or equal to 65536", reference + "API_RegisterCACertificate.html"},
	{"registration-code", Refused, "a verification certificate whose common name is not the registration code", wrongCode, guide + "register-CA-cert.html"},
	{"verification-signer", Refused, "a verification certificate that another CA has signed", wrongCertificate, guide + "register-CA-cert.html"},
	{"verification-self-signed", Refused, "a verification certificate that its own key has signed", wrongCertificate, guide + "register-CA-cert.html"},
	{"verification-key", Mistake, "a verification certificate with the CA's own key", "", guide + "register-CA-cert.html"},
	{"verification-lifetime", Advice, "a verification certificate that lives for more than a week", "", guide + "register-CA-cert.html"},
	{"same-subject", Refused, "more than ten CA certificates with one subject", overLimit, reference + "API_RegisterCACertificate.html"},
	{"device-ca", Mistake, "a device's certificate that says CA:TRUE", "", guide + "x509-client-certs.html"},
	{"device-signer", Mistake, "a device's certificate that the given CA has not signed", "", guide + "device-certs-your-own.html"},
	{"outlives-ca", Mistake, "a device's certificate that outlives its CA", "", guide + "device-certs-your-own.html"},
	{"chain-order", Mistake, "a chain whose certificates do not sign each other in order", "", guide + "auto-register-device-cert.html"},
	{"csr", Refused, "a certification request that is too long, unreadable or not signed with its key", wrongRequest, reference + "API_CreateCertificateFromCsr.html"},
	{"ca-mode", Refused, "a verification certificate in mode SNI_ONLY, or none in mode DEFAULT", wrongRequest, reference + "API_RegisterCACertificate.html"},
	{"register-pending", Refused, "registering a certificate as PENDING_ACTIVATION", "Not allowed to register certificate with PENDING_ACTIVATION status", reference + "API_RegisterCertificate.html"},

	// Policies.
	{"policy-syntax", Refused, "a policy without statements, or of another version", "Policy document is Malformed", guide + "iot-policies.html"},
	{"policy-size", Refused, "a policy of more than 2048 characters without white space", "Policy document is too long", "https://docs.aws.amazon.com/general/latest/gr/iot-core.html"},
	{"policy-action", Mistake, "an action in a device's policy that does not exist or is not a device's (iot:PublishRetain)", "", guide + "iot-policy-actions.html"},
	{"policy-action-wide", Mistake, "every action in a device's policy", "", guide + "security-iam-id-based-policies.html"},
	{"policy-variable", Mistake, "a policy variable that does not exist", "", guide + "iot-policy-variables.html"},
	{"sub-variable", Refused, "a policy variable that Fn::Sub takes for its own", "Template format error: Unresolved resource dependencies [...] in the Resources block of the template", "https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/intrinsic-function-reference-sub.html"},
	{"policy-resource", Mistake, "a device's policy that allows every resource, every topic or every rule", "", guide + "security-best-practices.html"},
	{"policy-client", Mistake, "a device's policy that allows every client id", "", guide + "thing-policy-variables.html"},
	{"policy-resource-kind", Mistake, "topic/ where topicfilter/ is wanted, and the like", "", guide + "pub-sub-policy.html"},
	{"policy-wildcard", Mistake, "MQTT's wildcards + and # in the ARN of a topic", "", guide + "pub-sub-policy.html"},
	{"policy-versions", Mistake, "code that makes a sixth version of a policy", manyVersions, reference + "API_CreatePolicyVersion.html"},
	{"claim-topics", Mistake, "a claim policy that lacks create-from-csr, the template's topics, or the answers", "", guide + "fleet-provision-api.html"},
	{"claim-wide", Mistake, "a claim policy that allows more than provisioning by one template", "", guide + "provision-wo-cert.html"},
	{"cloud-key-topic", Advice, "a claim policy that has AWS make private keys", "", guide + "fleet-provision-api.html"},

	// Provisioning templates.
	{"template-size", Refused, "a template of more than 10240 characters", "Value at 'templateBody' failed to satisfy constraint: Member must have length less than or equal to 10240", reference + "API_CreateProvisioningTemplate.html"},
	{"template-name", Refused, "a template's name of more than 36 characters, or with others than 0-9 A-Z a-z _ -", "Value at 'templateName' failed to satisfy constraint: Member must satisfy regular expression pattern: ^[0-9A-Za-z_-]+$", reference + "API_CreateProvisioningTemplate.html"},
	{"template-parameter", Refused, "a parameter of a type other than String", wrongRequest, guide + "provision-template.html"},
	{"template-reference", Refused, "a reference to a parameter that is not declared", "Cannot resolve reference value", guide + "provision-template.html"},
	{"template-resource", Refused, "a template without a certificate, with other resources, or with one that says too little", wrongRequest, guide + "provision-template.html"},
	{"template-policy", Mistake, "a template that attaches no policy", "", guide + "provision-template.html"},
	{"thing-name", Refused, "a thing's name with wrong characters or of more than 128", "Value at 'thingName' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9:_-]+", reference + "API_CreateThing.html"},
	{"thing-name-fixed", Mistake, "one thing's name for all devices", "", guide + "provision-template.html"},
	{"thing-attribute", Refused, "attributes of a thing with wrong characters, too long, or too many", wrongRequest, reference + "API_AttributePayload.html"},
	{"certificate-status", Refused, "a status other than ACTIVE and INACTIVE", wrongRequest, guide + "provision-template.html"},
	{"override-settings", Refused, "an override that does not exist, or MERGE where it is not allowed", wrongRequest, guide + "provision-template.html"},
	{"device-configuration", Refused, "a nested DeviceConfiguration", wrongRequest, guide + "provision-template.html"},
	{"jitp-parameter", Refused, "a JITP parameter that the subject does not have", "Cannot resolve reference value: {Ref=AWS::IoT::Certificate::...}", guide + "jit-provisioning.html"},
	{"jitp-unused", Mistake, "a JITP parameter that is declared and not used", "", guide + "jit-provisioning.html"},
	{"jitp-intrinsic", Uncertain, "Fn::Join and its like in a JITP template", "", guide + "provision-template.html"},
	{"role-arn", Refused, "what should be the ARN of a role and is none", "Invalid role ARN", reference + "API_CreateProvisioningTemplate.html"},

	// Hooks and functions.
	{"hook-missing", Mistake, "a fleet template without a pre-provisioning hook", "", guide + "pre-provisioning-hook.html"},
	{"hook-jitp", Refused, "a JITP template with a hook", wrongRequest, reference + "API_CreateProvisioningTemplate.html"},
	{"hook-payload-version", Refused, "a payload version other than 2020-04-01", wrongRequest, reference + "API_ProvisioningHook.html"},
	{"hook-timeout", Mistake, "a hook that may take more than 5 s", "ACCESS_DENIED", guide + "pre-provisioning-hook.html"},
	{"hook-permission", Mistake, "a hook that AWS IoT may not call", "ACCESS_DENIED", guide + "pre-provisioning-hook.html"},
	{"hook-permission-source", Mistake, "a permission for AWS IoT without source account or ARN", "", guide + "cross-service-confused-deputy-prevention.html"},
	{"hook-answer", Mistake, "an answer whose allowProvisioning is no boolean, or whose overrides are no texts", "ACCESS_DENIED", guide + "pre-provisioning-hook.html"},
	{"hook-event", Mistake, "a sample event that AWS would not send", "", guide + "pre-provisioning-hook.html"},
	{"hook-sticky", Mistake, "a decision that outlives the call in a variable of the module", "", lambdaGuide + "lambda-runtime-environment.html"},
	{"hook-fails-open", Mistake, "a hook that admits when something has failed", "", guide + "pre-provisioning-hook.html"},
	{"hook-prefix", Advice, "a hook that looks at the serial number's beginning only", "", guide + "pre-provisioning-hook.html"},
	{"hook-parameter", Mistake, "a hook that reads or sets a parameter which no template declares", "", guide + "pre-provisioning-hook.html"},
	{"prose-parameter", Mistake, "a README that calls the serial number otherwise than template and hook", "", guide + "pre-provisioning-hook.html"},
	{"lambda-handler", Mistake, "a handler whose file or function is not there", "Runtime.ImportModuleError", lambdaGuide + "python-handler.html"},
	{"runtime", Advice, "a runtime that AWS no longer supports", "", lambdaGuide + "lambda-runtimes.html"},
	{"iam-wide", Mistake, "AdministratorAccess and the like, or every action of a service on everything", "", "https://docs.aws.amazon.com/IAM/latest/UserGuide/best-practices.html"},
	{"iam-action", Mistake, "an action of AWS IoT that does not exist", "", "https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsiot.html"},
	{"cloud-key", Mistake, "a private key that AWS makes (CreateKeysAndCertificate, create/*)", "", reference + "API_CreateKeysAndCertificate.html"},

	// Rotation.
	{"grace-inverted", Mistake, "a grace test that takes certificates out of service inside of the grace period", "", guide + "device-certs-your-own.html"},
	{"early-deactivation", Mistake, "the old certificate taken out of service before the new one has connected", "", guide + "life-cycle-events.html"},
	{"rotation-trust", Mistake, "a rotation hook that believes the serial number in the request", "", guide + "pre-provisioning-hook.html"},
	{"pagination", Mistake, "a query of which only the first page is read", "", reference + "API_SearchIndex.html"},
	{"module-date", Mistake, "a date that is computed once when a function starts", "", lambdaGuide + "lambda-runtime-environment.html"},
	{"schedule", Mistake, "a daily job on certificates that runs every few minutes", "", "https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-scheduled-rule-pattern.html"},

	// Rules, bulk input, clients.
	{"basic-ingest", Mistake, "Basic Ingest that goes through the message broker", "", guide + "iot-basic-ingest.html"},
	{"rule-name", Refused, "a topic rule's name with characters other than letters, digits and _", "Value at 'ruleName' failed to satisfy constraint: Member must satisfy regular expression pattern: ^[a-zA-Z0-9_]+$", reference + "API_CreateTopicRule.html"},
	{"rule-sql", Refused, "a topic rule without a SELECT", wrongSQL, guide + "iot-sql-reference.html"},
	{"rule-topic", Mistake, "a rule on registration events whose CA id is none", "", guide + "auto-register-device-cert.html"},
	{"rule-action", Mistake, "a topic rule without actions", "", guide + "iot-rule-actions.html"},
	{"rule-role", Refused, "an action of a topic rule without its role", wrongRequest, guide + "iot-rule-actions.html"},
	{"bulk-line", Refused, "a line of bulk input that is too long or not an object of texts", wrongRequest, guide + "bulk-provisioning.html"},
	{"bulk-parameter", Refused, "a line of bulk input that lacks a parameter", "Cannot resolve reference value", guide + "bulk-provisioning.html"},
	{"bulk-duplicate", Mistake, "a thing that stands twice in bulk input", "", guide + "bulk-provisioning.html"},
	{"settings", Mistake, "client settings that are missing or stand twice", "", "https://github.com/aws-samples/aws-iot-fleet-provisioning"},
	{"settings-template", Mistake, "client settings that name a template which is not there", "", guide + "fleet-provision-api.html"},
	{"endpoint", Mistake, "an endpoint that is no host name, or not the ATS one", "", guide + "iot-connect-devices.html"},
}
