'use strict';
// A headless Vendure shop on loopback for Stockwire's tests: Admin and Shop GraphQL, SQLite in one file.
// Runs as a process of its own (Vendure is GPL); our harness seeds it and speaks to it over HTTP only.
//
//   SHOP_PORT      port on 127.0.0.1
//   SHOP_DATABASE  path of the database file; made when missing
//   SHOP_PASSWORD  password of "superadmin", used when the database is made
//
// Prints "READY" when it serves. sql.js rather than better-sqlite3: nothing to compile.
process.env.VENDURE_DISABLE_TELEMETRY = 'true'; // it calls home at start unless told not to
const fs = require('node:fs');
const { bootstrap, DefaultLogger, dummyPaymentHandler, LanguageCode, LogLevel } = require('@vendure/core');
const { populateInitialData } = require('@vendure/core/cli');

const port = Number(process.env.SHOP_PORT);
const database = process.env.SHOP_DATABASE;
const password = process.env.SHOP_PASSWORD;
if (!port || !database || !password) throw new Error('set SHOP_PORT, SHOP_DATABASE and SHOP_PASSWORD');

const config = {
    apiOptions: { hostname: '127.0.0.1', port, adminApiPath: 'admin-api', shopApiPath: 'shop-api', cors: false },
    authOptions: {
        tokenMethod: ['bearer'],
        requireVerification: false,
        superadminCredentials: { identifier: 'superadmin', password },
    },
    dbConnectionOptions: {
        type: 'sqljs',
        location: database,
        autoSave: true, // a restart must find what the shop has accepted
        synchronize: true,
        logging: false,
    },
    paymentOptions: { paymentMethodHandlers: [dummyPaymentHandler] },
    customFields: { ProductVariant: [{ name: 'gtin', type: 'string', nullable: true, public: true }] },
    logger: new DefaultLogger({ level: LogLevel.Warn, timestamp: true }),
};

// The least that lets a variant have a price and an order be paid.
const initialData = {
    defaultLanguage: LanguageCode.en,
    defaultZone: 'Europe',
    countries: [{ name: 'Germany', code: 'DE', zone: 'Europe' }],
    taxRates: [{ name: 'Standard Tax', percentage: 19 }],
    shippingMethods: [{ name: 'Parcel', price: 490 }],
    paymentMethods: [{
        name: 'Test payment',
        handler: { code: dummyPaymentHandler.code, arguments: [{ name: 'automaticSettle', value: 'true' }] },
    }],
    collections: [],
};

async function main() {
    const isNew = !fs.existsSync(database);
    const app = await bootstrap(config);
    if (isNew) await populateInitialData(app, initialData);
    for (const signal of ['SIGTERM', 'SIGINT']) {
        process.once(signal, () => app.close().then(() => process.exit(0)));
    }
    console.log('READY');
}

main().catch(error => {
    console.error(error);
    process.exit(1);
});
