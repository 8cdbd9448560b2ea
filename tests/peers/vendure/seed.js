'use strict';
// Fills a new shop through its Admin API: a stock location for each site and a variant for each item, nothing in stock.
//
//   node seed.js URL WORLD.json      password of "superadmin" in SHOP_PASSWORD
//
// WORLD.json is written by our harness, see tests/src/real/world.rs.
const fs = require('node:fs');

const [url, worldFile] = process.argv.slice(2);
let token;

async function admin(query, variables) {
    const response = await fetch(url + '/admin-api', {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...(token && { authorization: 'Bearer ' + token }) },
        body: JSON.stringify({ query, variables }),
    });
    token = response.headers.get('vendure-auth-token') || token;
    const { data, errors } = await response.json();
    if (errors) throw new Error(JSON.stringify(errors));
    return data;
}

async function main() {
    const world = JSON.parse(fs.readFileSync(worldFile, 'utf8'));
    const { login } = await admin(
        'mutation($p: String!) { login(username: "superadmin", password: $p) { __typename } }',
        { p: process.env.SHOP_PASSWORD });
    if (login.__typename !== 'CurrentUser') throw new Error('login: ' + login.__typename);

    // As the ERP of the same world has it; a new shop trades in dollars.
    const { activeChannel } = await admin('{ activeChannel { id } }');
    await admin('mutation($i: UpdateChannelInput!) { updateChannel(input: $i) { __typename } }',
        { i: { id: activeChannel.id, defaultCurrencyCode: 'EUR', availableCurrencyCodes: ['EUR'] } });
    for (const { code } of world.sites) {
        await admin('mutation($i: CreateStockLocationInput!) { createStockLocation(input: $i) { id } }',
            { i: { name: code } });
    }
    const { taxCategories } = await admin('{ taxCategories { items { id } } }');
    for (const { sku, name, gtin } of world.items) {
        const translation = { languageCode: 'en', name };
        const { createProduct } = await admin(
            'mutation($i: CreateProductInput!) { createProduct(input: $i) { id } }',
            { i: { enabled: true, translations: [{ ...translation, slug: sku.toLowerCase(), description: '' }] } });
        await admin(
            'mutation($i: [CreateProductVariantInput!]!) { createProductVariants(input: $i) { id } }',
            { i: [{
                productId: createProduct.id, sku, price: 1000, trackInventory: 'TRUE',
                taxCategoryId: taxCategories.items[0].id, translations: [translation], customFields: { gtin },
            }] });
    }
}

main().catch(error => {
    console.error(error);
    process.exit(1);
});
