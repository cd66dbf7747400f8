package serve

import (
	"context"
	"slices"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/dialect/meshconfig"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Names of what stands in the document with the settings: the settings themselves go before those of every other source.
const (
	settingsSource   = "settings"
	settingsProblems = "settings-document"
)

// SettingsText is what the place says where the settings of the mesh stand.
type SettingsText struct {
	Document meshconfig.Document
	Found    bool  // false: there is no such place, and the settings are those of a mesh that says nothing
	Err      error // why it cannot be read; nil: it can
}

// SettingsSink takes what the place says now.
type SettingsSink func(ctx context.Context, t SettingsText) error

const stays = "what was good last stays in force"

// takeSettings takes a document over if it is good. Otherwise what was good last stays in force: of this control plane, else
// of the one before, which the store kept; without any the control plane is not ready.
func (p *Plane) takeSettings(ctx context.Context, t SettingsText) error {
	set, problems := mesh.DefaultSettings, []mesh.Problem(nil)
	switch {
	case t.Err != nil:
		problems = []mesh.Problem{{
			Object: t.Document.Object, Position: mesh.Position{File: t.Document.Name},
			Code: config.CodeUnreadableFile, Severity: mesh.Error, Message: "cannot be read: " + t.Err.Error(),
		}}
	case t.Found:
		set, problems = meshconfig.Read(t.Document, p.config.Domain)
	}
	bad := mesh.HasErrors(problems)
	if bad {
		problems = slices.Clone(problems)
		last := &problems[len(problems)-1]
		if last.Hint != "" {
			last.Hint += "; "
		}
		last.Hint += stays
	}
	if _, err := p.store.SetObjects(ctx, settingsProblems, nil, problems); err != nil {
		return err
	}
	if bad {
		p.badSettings = true
		p.handKeptSettings()
		return nil
	}
	p.handSettings(set)
	if _, err := p.store.SetRegistry(ctx, settingsSource, mesh.Registry{Settings: &set}); err != nil {
		return err
	}
	if p.badSettings {
		p.config.Log.Info("mended", "object", t.Document.Name, "problem", "the settings are good again")
		p.badSettings = false
	}
	return nil
}

// handSettings tells the attached sources which settings are in force.
func (p *Plane) handSettings(set mesh.Settings) {
	p.handedSettings = true
	for _, source := range p.attached {
		source.TakeSettings(set)
	}
}

// handKeptSettings tells the attached sources what was good last before the start, which will be in force, unless they know better.
func (p *Plane) handKeptSettings() {
	if p.handedSettings {
		return
	}
	if kept, _, err := p.store.Kept(settingsSource); err == nil && kept.Settings != nil {
		p.handSettings(*kept.Settings)
	}
}
