// Gives exports the contract's names, which are no identifiers, so that the language has no way to say them.

const INTERFACES = {
  balancer: ["configure", "endpointsChanged", "pick"],
  feedback: ["onResult"],
  probing: ["onProbe"],
  timer: ["tick"],
  state: ["schema", "save", "restore"],
};

export default class {
  afterCompile(module) {
    for (const [name, functions] of Object.entries(INTERFACES)) {
      for (const exported of functions) {
        const dashed = exported.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
        this.rename(module, exported, `sluicegate:policy/${name}@0.1.0#${dashed}`);
      }
    }
  }

  rename(module, from, to) {
    const found = module.getExport(from);
    if (!found) return;
    const internal = this.binaryen.getExportInfo(found).value;
    module.removeExport(from);
    module.addFunctionExport(internal, to);
  }
}
