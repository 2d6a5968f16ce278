package awsreg

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"

	"mintmark/internal/reconcile"
)

const (
	// templateVersions is how many versions of a template AWS keeps.
	// https://docs.aws.amazon.com/general/latest/gr/iot_device_management.html
	templateVersions = 5
	// hookVersion is the only version of the hook's event that there is.
	// https://docs.aws.amazon.com/iot/latest/developerguide/pre-provisioning-hook.html
	hookVersion = "2020-04-01"
)

// ProvisioningTemplate is a template for fleet provisioning by claim, with the
// function that decides. It is enabled; an order is what opens and closes it.
type ProvisioningTemplate struct {
	Name        string
	Body        string // FleetTemplate or RotationTemplate
	RoleARN     string
	Hook        string // ARN
	Description string
}

// Templates are the provisioning templates of a fleet: the one for a claim, and
// with rotation the one for a device's next certificate.
func Templates(t Target, f Fleet) []ProvisioningTemplate {
	list := []ProvisioningTemplate{{
		Name: f.Template, Body: FleetTemplate(t, f), RoleARN: f.RoleARN, Hook: f.Hook,
		Description: "mintmark: first certificate of a device, by claim",
	}}
	if t.Rotation != nil {
		list = append(list, ProvisioningTemplate{
			Name: f.rotationTemplate(), Body: RotationTemplate(t, f), RoleARN: f.RoleARN, Hook: f.RotationHook,
			Description: "mintmark: next certificate of a device, under the one that it has",
		})
	}
	return list
}

func (p ProvisioningTemplate) String() string {
	return templateText(p.Body, p.RoleARN, p.Hook, hookVersion, p.Description, true)
}

func templateText(body, role, hook, version, description string, enabled bool) string {
	text := fmt.Sprintf("%s; role %s; ", digest(body), role)
	if hook == "" {
		text += "no hook, so that any claim registers any device"
	} else {
		text += fmt.Sprintf("hook %s, payload %s", hook, version)
	}
	text += fmt.Sprintf("; description %q", description)
	if !enabled {
		text += "; disabled"
	}
	return text
}

// templateResource is a provisioning template: created if absent, given a new
// default version if its body differs, updated if anything else does.
func templateResource(api templateAPI, want ProvisioningTemplate) resource {
	examine := func(ctx context.Context) (reconcile.Change, action, error) {
		change := reconcile.Change{Kind: kindTemplate, Subject: want.Name, After: want.String()}
		have, err := api.DescribeProvisioningTemplate(ctx, &iot.DescribeProvisioningTemplateInput{TemplateName: aws.String(want.Name)})
		if code(err) == codeNotFound {
			change.Action = reconcile.Create
			return change, func(ctx context.Context) error { return createTemplate(ctx, api, want) }, nil
		}
		if err != nil {
			return change, nil, explain(fmt.Sprintf("reading provisioning template %q", want.Name), err)
		}
		if have.Type != "" && have.Type != types.TemplateTypeFleetProvisioning {
			change.Action = reconcile.Refuse
			change.After = fmt.Sprintf("there is a template of this name and of type %s, which AWS has no way to change: name another template, or delete it", have.Type)
			return change, nil, nil
		}
		hook, version := "", ""
		if h := have.PreProvisioningHook; h != nil {
			hook, version = aws.ToString(h.TargetArn), or(aws.ToString(h.PayloadVersion), hookVersion)
		}
		enabled := aws.ToBool(have.Enabled)
		change.Before = templateText(aws.ToString(have.TemplateBody), aws.ToString(have.ProvisioningRoleArn), hook, version, aws.ToString(have.Description), enabled)
		if change.Before == change.After {
			change.Action = reconcile.None
			return change, nil, nil
		}
		change.Action = reconcile.Update
		// The body last: devices under it meet the role and the hook that go with it.
		if aws.ToString(have.ProvisioningRoleArn) != want.RoleARN || hook != want.Hook || version != hookVersion ||
			aws.ToString(have.Description) != want.Description || !enabled {
			return change, func(ctx context.Context) error { return updateTemplate(ctx, api, want) }, nil
		}
		return change, func(ctx context.Context) error { return newTemplateVersion(ctx, api, want) }, nil
	}
	return resource{examine: examine}
}

func (p ProvisioningTemplate) hook() *types.ProvisioningHook {
	return &types.ProvisioningHook{TargetArn: aws.String(p.Hook), PayloadVersion: aws.String(hookVersion)}
}

func createTemplate(ctx context.Context, api templateAPI, want ProvisioningTemplate) error {
	_, err := api.CreateProvisioningTemplate(ctx, &iot.CreateProvisioningTemplateInput{
		TemplateName: aws.String(want.Name), TemplateBody: aws.String(want.Body), ProvisioningRoleArn: aws.String(want.RoleARN),
		PreProvisioningHook: want.hook(), Description: aws.String(want.Description), Enabled: aws.Bool(true),
		Type: types.TemplateTypeFleetProvisioning,
	})
	if code(err) == codeExists { // made by a call whose answer was lost
		return nil
	}
	return explain(fmt.Sprintf("creating provisioning template %q", want.Name), err)
}

func updateTemplate(ctx context.Context, api templateAPI, want ProvisioningTemplate) error {
	_, err := api.UpdateProvisioningTemplate(ctx, &iot.UpdateProvisioningTemplateInput{
		TemplateName: aws.String(want.Name), ProvisioningRoleArn: aws.String(want.RoleARN),
		PreProvisioningHook: want.hook(), Description: aws.String(want.Description), Enabled: aws.Bool(true),
	})
	return explain(fmt.Sprintf("updating provisioning template %q", want.Name), err)
}

// newTemplateVersion makes the body the template's default version. At five
// versions the oldest that is not in force goes first.
func newTemplateVersion(ctx context.Context, api templateAPI, want ProvisioningTemplate) error {
	doing := fmt.Sprintf("adding a version to provisioning template %q", want.Name)
	// Five fit into one page.
	out, err := api.ListProvisioningTemplateVersions(ctx, &iot.ListProvisioningTemplateVersionsInput{TemplateName: aws.String(want.Name)})
	if err != nil {
		return explain(doing, err)
	}
	if len(out.Versions) >= templateVersions {
		idle := slices.DeleteFunc(out.Versions, func(v types.ProvisioningTemplateVersionSummary) bool { return v.IsDefaultVersion })
		if len(idle) == 0 {
			return fmt.Errorf("%s: AWS lists %d versions and none that could be deleted", doing, len(out.Versions))
		}
		oldest := slices.MinFunc(idle, func(a, b types.ProvisioningTemplateVersionSummary) int {
			return cmp.Compare(aws.ToInt32(a.VersionId), aws.ToInt32(b.VersionId))
		})
		_, err := api.DeleteProvisioningTemplateVersion(ctx, &iot.DeleteProvisioningTemplateVersionInput{TemplateName: aws.String(want.Name), VersionId: oldest.VersionId})
		if err != nil && code(err) != codeNotFound {
			return explain(fmt.Sprintf("deleting version %d of provisioning template %q", aws.ToInt32(oldest.VersionId), want.Name), err)
		}
	}
	_, err = api.CreateProvisioningTemplateVersion(ctx, &iot.CreateProvisioningTemplateVersionInput{
		TemplateName: aws.String(want.Name), TemplateBody: aws.String(want.Body), SetAsDefault: true,
	})
	return explain(doing, err)
}
