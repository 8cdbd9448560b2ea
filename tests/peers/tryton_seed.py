"""Fill a new Tryton database with the warehouse company that our tests trade with.

    python tryton_seed.py CONFIG DATABASE WORLD.json SEED.json

CONFIG is a trytond configuration file; DATABASE must have the modules `stock`
and `sale` activated and hold no company yet.  WORLD.json says what to make and is written
by our harness (see tests/src/real/world.rs):

    {"gateway_password": "...",
     "sites": [{"code": "HAM", "name": "Hamburg", "bins": ["A-01", "A-02"]}],
     "items": [{"sku": "SKU-0001", "name": "...", "gtin": "952...", "unit": "H87",
                "opening": {"HAM/A-01": "100"}}]}

SEED.json receives what a client must know: the REST key and the ids.

It runs in-process through proteus (LGPL) with trytond (GPL), so it is a
stand-alone program: nothing of ours links to it.
"""
import datetime
import json
import sys
from decimal import Decimal

from proteus import Model, Wizard, config

COMPANY = "Stockwire Test Trading GmbH"
SUPPLIER = "Test Supplier"
CUSTOMER = "Test Customer"

# UN/ECE Rec 20 code -> symbol of Tryton's unit.
UNITS = {"H87": "u", "KGM": "kg"}
# Warehouse scales show grams; Tryton ships with kilograms rounded to 10 g.
KILOGRAM_DIGITS = 3

# What an integration user may do.  The last group lets it post a movement that
# has happened on the floor although the ERP believes that there is too little.
GATEWAY_GROUPS = ("stock.group_stock", "stock.group_stock_force_assignment", "sale.group_sale")
# What Germany takes of most goods.
TAX = Decimal("0.19")


def main():
    config_file, database, world_file, seed_file = sys.argv[1:]
    with open(world_file, encoding="utf-8") as file:
        world = json.load(file)
    cfg = config.set_trytond(database, user="admin", config_file=config_file)

    make_company()
    cfg._context = Model.get("res.user").get_preferences(True, cfg.context)
    company, = Model.get("company.company").find()
    category = make_accounts(cfg, company)
    make_sites(world["sites"])
    make_parties()
    make_items(world["items"], category)
    make_opening_stock(world["items"])
    key = make_gateway_user(cfg, company, world["gateway_password"])
    assert key.state == "validated", key.state  # only such a key opens the REST door

    with open(seed_file, "w", encoding="utf-8") as out:
        json.dump(describe(company, key.key), out, indent=1, sort_keys=True)


def make_company():
    euro = Model.get("currency.currency")(
        name="Euro", symbol="€", code="EUR", numeric_code="978", rounding=Decimal("0.01"), digits=2)
    euro.rates.new(date=datetime.date(2020, 1, 1), rate=Decimal(1))
    euro.save()
    Model.get("country.country")(name="Germany", code="DE", code3="DEU", code_numeric="276").save()
    party = Model.get("party.party")(name=COMPANY)
    party.save()
    wizard = Wizard("company.company.config")
    wizard.execute("company")
    wizard.form.party = party
    wizard.form.currency = euro
    wizard.execute("add")


def make_accounts(cfg, company):
    """What a sale needs to be confirmed: it makes an invoice, which is an account's business."""
    wizard = Wizard("account.create_chart")
    wizard.execute("account")
    root = Model.get("ir.model.data").get_id("account.account_template_root_en", cfg.context)
    wizard.form.account_template = Model.get("account.account.template")(root)
    wizard.form.company = company
    wizard.execute("create_account")
    Account = Model.get("account.account")
    kinds = {}
    for kind in ("receivable", "payable", "revenue", "expense"):
        kinds[kind] = Account.find([("type." + kind, "=", True), ("closed", "!=", True)])[0]
    wizard.form.account_receivable, wizard.form.account_payable = kinds["receivable"], kinds["payable"]
    wizard.form.category_account_expense, wizard.form.category_account_revenue = kinds["expense"], kinds["revenue"]
    wizard.execute("create_properties")

    group = Model.get("account.tax.group")(name="VAT", code="VAT", kind="sale")
    group.save()
    # Its money goes where all other money of the smallest chart goes.
    tax = Model.get("account.tax")(
        name="VAT 19 %", description="VAT 19 %", group=group, type="percentage", rate=TAX,
        invoice_account=kinds["payable"], credit_note_account=kinds["payable"])
    tax.save()

    today = datetime.date.today()
    year = Model.get("account.fiscalyear")(
        name=str(today.year), company=company,
        start_date=datetime.date(today.year, 1, 1), end_date=datetime.date(today.year, 12, 31))
    year.move_sequence = strict_sequence(company, today, "Account Move")
    invoices = strict_sequence(company, today, "Invoice")
    for field in ("out_invoice_sequence", "in_invoice_sequence", "out_credit_note_sequence", "in_credit_note_sequence"):
        setattr(year.invoice_sequences[0], field, invoices)
    year.save()
    year.click("create_period")

    category = Model.get("product.category")(
        name="Goods", accounting=True, account_expense=kinds["expense"], account_revenue=kinds["revenue"])
    category.save()
    return category


def strict_sequence(company, day, kind):
    sequence = Model.get("ir.sequence.strict")(
        name=str(day.year), company=company, sequence_type=one("ir.sequence.type", "name", kind))
    sequence.save()
    return sequence


def make_sites(sites):
    """One Tryton warehouse a site.  The code of every place in it is SITE/LOCATION."""
    Location = Model.get("stock.location")
    lost_found, = Location.find([("type", "=", "lost_found")])
    spare = Location.find([("type", "=", "warehouse")])  # trytond makes one itself
    for site in sites:
        zones = {}
        for zone, name in (("STO", "Storage"), ("IN", "Input"), ("OUT", "Output")):
            place = Location(name="%s %s" % (site["name"], name), type="storage")
            place.code = "%s/%s" % (site["code"], zone)
            place.save()
            zones[zone] = place
        warehouse = Location(
            name=site["name"], code=site["code"], type="warehouse", storage_location=zones["STO"],
            input_location=zones["IN"], output_location=zones["OUT"], lost_found_location=lost_found)
        warehouse.save()
        for place in zones.values():
            place.parent = warehouse
            place.save()
        for name in site["bins"]:
            Location(name=name, code="%s/%s" % (site["code"], name), type="storage",
                parent=zones["STO"]).save()
    for warehouse in spare:
        warehouse.active = False
        warehouse.save()


def make_parties():
    germany = one("country.country", "code", "DE")
    for name, city in ((SUPPLIER, "Kiel"), (CUSTOMER, "Berlin")):
        party = Model.get("party.party")(name=name)
        address = party.addresses[0] if party.addresses else party.addresses.new()
        address.city, address.country = city, germany
        party.save()


def make_items(items, category):
    kilogram = one("product.uom", "symbol", "kg")
    kilogram.digits = KILOGRAM_DIGITS
    kilogram.rounding = 10.0 ** -KILOGRAM_DIGITS
    kilogram.save()
    for item in items:
        template = Model.get("product.template")(
            name=item["name"], type="goods", list_price=Decimal("10"), salable=True, account_category=category,
            default_uom=one("product.uom", "symbol", UNITS[item["unit"]]))
        product, = template.products
        product.suffix_code = item["sku"]
        product.cost_price = Decimal("5")
        product.identifiers.new(type="ean", code=item["gtin"])
        template.save()


def make_opening_stock(items):
    lines = {}
    for item in items:
        for location, quantity in item["opening"].items():
            if Decimal(quantity):
                lines.setdefault(location, []).append((item["sku"], float(quantity)))
    for location, counted in sorted(lines.items()):
        inventory = Model.get("stock.inventory")(
            location=one("stock.location", "code", location), date=datetime.date.today())
        for sku, quantity in counted:
            inventory.lines.new(product=one("product.product", "code", sku), quantity=quantity)
        inventory.click("confirm")


def make_gateway_user(cfg, company, password):
    user = Model.get("res.user")(
        name="Gateway", login="gateway", email="gateway@example.invalid", password=password, company=company)
    user.companies.append(Model.get("company.company")(company.id))
    known = {group.id for group in user.groups}  # a new user starts with the default groups
    for xml_id in GATEWAY_GROUPS:
        group = Model.get("res.group")(Model.get("ir.model.data").get_id(xml_id, cfg.context))
        if group.id not in known:
            user.groups.append(group)
    user.save()
    key = Model.get("res.user.application")(application="rest", user=user)
    key.save()
    return key


def describe(company, key):
    Location = Model.get("stock.location")
    zones = {}
    for warehouse in Location.find([("type", "=", "warehouse")]):
        zones[warehouse.code] = {
            "warehouse": warehouse.id, "input": warehouse.input_location.id,
            "storage": warehouse.storage_location.id, "output": warehouse.output_location.id,
            "lost_found": warehouse.lost_found_location.id}
    supplier, customer = (one("party.party", "name", name) for name in (SUPPLIER, CUSTOMER))
    return {
        "rest_key": key,
        "company": company.id,
        "currency": company.currency.id,
        "supplier": {"party": supplier.id, "location": supplier.supplier_location.id},
        "customer": {"party": customer.id, "location": customer.customer_location.id,
            "address": customer.addresses[0].id},
        "sites": zones,
        "locations": {place.code: place.id for place in Location.find([("code", "like", "%/%")])},
        "items": {product.code: {
            "id": product.id, "gtin": product.identifiers[0].code, "unit": product.default_uom.id}
            for product in Model.get("product.product").find([("code", "!=", None)])},
    }


def one(model, field, value):
    found, = Model.get(model).find([(field, "=", value)])
    return found


if __name__ == "__main__":
    main()
